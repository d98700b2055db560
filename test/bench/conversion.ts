import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Guest, Lab } from "../../fixtures/lab.ts";
import { probeKvm } from "../../src/hypervisor/capabilities.ts";
import { type Measure, measure, ratioLines, summarise, table } from "./measure.ts";

// Guests whose initramfs knows AHCI only: from what each side has captured to a qcow2 file that boots on virtio.
const { values: flags } = parseArgs({
  options: {
    runs: { type: "string", default: "3" },
    guest: {
      type: "string",
      multiple: true,
      default: ["initramfs-tools,bios,plain", "initramfs-tools,bios,lvm", "dracut,uefi,plain"],
    },
    json: { type: "boolean", default: false },
  },
});
const root = resolve(process.argv[1] ?? ".", "../../../..");
const useTcg = !(await probeKvm()).works;

/** A time alone says nothing of a guest that was refused. */
type Outcome = "converts it" | "does not convert it";

class Comparison implements Disposable {
  readonly results = new Map<string, Measure[]>();
  peerOutcome: Outcome = "converts it";
  readonly #work = mkdtempSync(join(tmpdir(), "doppel-bench-convert-"));
  readonly #contenders: Record<string, () => number> = {
    "ours: convert, export to qcow2": () => this.#convert(),
    "(w) virt-v2v to qcow2": () => this.#runPeer(),
  };

  async capture(guest: Guest): Promise<void> {
    await using lab = await Lab.start({ guest });
    this.#doppel("capture", ...lab.login, "--name", "physical", "--freeze");
    await lab.machine.stop();
    this.#doppel("export", "physical", "-o", this.#at("physical.raw"), "--format", "raw");
  }

  run(label: string): void {
    for (const [name, one] of Object.entries(this.#contenders)) {
      const result = measure(one);
      this.results.set(name, [...(this.results.get(name) ?? []), result]);
      process.stderr.write(`${label}: ${name}: ${result.seconds.toFixed(1)} s, ${result.bytes} bytes\n`);
    }
  }

  #convert(): number {
    const path = this.#at("ours.qcow2");
    rmSync(path, { force: true });
    this.#doppel("convert", "physical", "--to", "kvm", "--name", "virtual");
    this.#doppel("export", "virtual", "-o", path);
    this.#doppel("images", "rm", "virtual", "--grace", "0s");
    return statSync(path).size;
  }

  #runPeer(): number {
    const folder = this.#at("v2v");
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    const input = ["-i", "disk", this.#at("physical.raw")];
    const { status } = spawnSync("virt-v2v", [...input, "-o", "local", "-os", folder, "-of", "qcow2"], {
      env: {
        ...process.env,
        LIBGUESTFS_BACKEND: "direct",
        ...(useTcg ? { LIBGUESTFS_BACKEND_SETTINGS: "force_tcg" } : {}),
      },
      stdio: ["ignore", 2, "inherit"],
    });
    if (status !== 0) this.peerOutcome = "does not convert it";
    return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  }

  #doppel(...args: string[]): void {
    execFileSync(join(root, "bin/doppel"), args, {
      env: { ...process.env, DOPPEL_HOME: this.#at("home") },
      stdio: ["ignore", "ignore", "inherit"],
    });
  }

  #at(name: string): string {
    return join(this.#work, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.#work, { recursive: true, force: true });
  }
}

const compared: unknown[] = [];
for (const words of flags.guest) {
  const [generator, firmware, stack] = words.split(",");
  using comparison = new Comparison();
  await comparison.capture({ generator, firmware, stack } as Guest);
  for (let run = 1; run <= Number(flags.runs); run++) comparison.run(`${words}, run ${run}`);
  const summary = summarise(comparison.results);
  const [ours, peer] = summary.map(({ seconds }) => seconds);
  const isCompared = comparison.peerOutcome === "converts it";
  const ratio = isCompared ? (ours ?? Number.NaN) / (peer ?? Number.NaN) : Number.NaN;
  const ratios = [["conversion to (w), time", ratio, 0.3]] as const;
  compared.push({ guest: words, peer: comparison.peerOutcome, summary, ratios });
  if (!flags.json)
    process.stdout.write(
      `${words}: virt-v2v ${comparison.peerOutcome}\n${table(summary)}${ratioLines(ratios)}\n`,
    );
}
if (flags.json) process.stdout.write(`${JSON.stringify({ useTcg, compared }, undefined, 2)}\n`);
else process.stdout.write(`medians; ${useTcg ? "no hardware help (TCG)" : "KVM"} for either appliance\n`);
