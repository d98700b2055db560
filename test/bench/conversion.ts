import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Lab } from "../../fixtures/lab.ts";
import { probeKvm } from "../../src/hypervisor/capabilities.ts";
import { type Measure, measure, ratioLines, summarise, table } from "./measure.ts";

// The demo machine, with an initramfs that knows AHCI only, from what each side has captured to a qcow2 file that boots on virtio.
const { values: flags } = parseArgs({
  options: { runs: { type: "string", default: "3" }, json: { type: "boolean", default: false } },
});
const root = resolve(process.argv[1] ?? ".", "../../../..");
const work = mkdtempSync(join(tmpdir(), "doppel-bench-convert-"));
const doppel = (...args: string[]) =>
  execFileSync(join(root, "bin/doppel"), args, {
    env: { ...process.env, DOPPEL_HOME: join(work, "home") },
    stdio: ["ignore", "ignore", "inherit"],
  });

/** What became of it on the peer's side: a time alone says nothing of a guest that was refused. */
const outcomes = new Set<string>();
const contenders: Record<string, () => number> = {
  "ours: convert, export to qcow2": () => {
    const path = join(work, "ours.qcow2");
    rmSync(path, { force: true });
    doppel("convert", "physical", "--to", "kvm", "--name", "virtual");
    doppel("export", "virtual", "-o", path);
    doppel("images", "rm", "virtual", "--grace", "0s");
    return statSync(path).size;
  },
  "(w) virt-v2v to qcow2": () => {
    const folder = join(work, "v2v");
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    const input = ["-i", "disk", join(work, "physical.raw")];
    const { status } = spawnSync("virt-v2v", [...input, "-o", "local", "-os", folder, "-of", "qcow2"], {
      env: {
        ...process.env,
        LIBGUESTFS_BACKEND: "direct",
        ...(useTcg ? { LIBGUESTFS_BACKEND_SETTINGS: "force_tcg" } : {}),
      },
      stdio: ["ignore", "ignore", "inherit"],
    });
    outcomes.add(status === 0 ? "virt-v2v converts it" : "virt-v2v does not convert it");
    return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  },
};

const useTcg = !(await probeKvm()).works;
const results = new Map<string, Measure[]>();
try {
  await using lab = await Lab.start({ ahciOnly: true });
  doppel("capture", ...lab.login, "--name", "physical", "--freeze");
  await lab.machine.stop();
  doppel("export", "physical", "-o", join(work, "physical.raw"), "--format", "raw");
  for (let run = 0; run < Number(flags.runs); run++) {
    for (const [name, one] of Object.entries(contenders)) {
      const result = measure(one);
      results.set(name, [...(results.get(name) ?? []), result]);
      process.stderr.write(
        `run ${run + 1}: ${name}: ${result.seconds.toFixed(1)} s, ${result.bytes} bytes\n`,
      );
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

const summary = summarise(results);
const [ours, peer] = summary.map(({ seconds }) => seconds);
const ratios = [["conversion to (w), time", (ours ?? Number.NaN) / (peer ?? Number.NaN), 0.3]] as const;
if (flags.json)
  process.stdout.write(`${JSON.stringify({ summary, ratios, outcomes: [...outcomes] }, undefined, 2)}\n`);
else {
  const accelerator = useTcg ? "no hardware help (TCG) for either appliance" : "KVM for either appliance";
  process.stdout.write(
    `${table(summary)}\nmedians; ${accelerator}; ${[...outcomes].join(", ")}\n${ratioLines(ratios)}`,
  );
}
