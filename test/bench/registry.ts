import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { DiskImage } from "../../fixtures/disks.ts";
import { Registry } from "../../fixtures/registry.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { type Measure, measure, ratioLines, summarise, table } from "./measure.ts";

// One image over loopback into a registry without encryption and out of it again: ours, skopeo, and cp of the same blobs; and
// curl, which reads, sends and receives them and does nothing else: what the registry alone takes.
const { values: flags } = parseArgs({
  options: {
    runs: { type: "string", default: "3" },
    mib: { type: "string", default: "1024" },
    json: { type: "boolean", default: false },
  },
});
const root = resolve(process.argv[1] ?? ".", "../../../..");
const work = mkdtempSync(join(tmpdir(), "doppel-bench-registry-"));
const home = join(work, "home");
const layout = join(home, "store");
let run = 0;

const program = (file: string, args: string[], env: Record<string, string> = {}) =>
  execFileSync(file, args, { env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "inherit"] });
const doppel = (at: string, ...args: string[]) =>
  program(join(root, "bin/doppel"), args, { DOPPEL_HOME: at });

function folderBytes(folder: string): number {
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

/** Where the registry wants a blob to be put that nobody has announced. */
function uploadAddress(host: string, digest: string): string {
  const args = ["-sS", "-X", "POST", "-o", "/dev/null", "-w", "%header{location}"];
  const location = execFileSync("curl", [...args, `http://${host}/v2/f/blobs/uploads/`], {
    encoding: "utf8",
  });
  return `${location}&digest=sha256:${digest}`;
}

const AT_ONCE = ["--no-progress-meter", "--parallel", "--parallel-immediate", "--parallel-max", "4"];

await using registry = await Registry.start();
await using sshd = await Sshd.start();
const blobs = join(layout, "blobs/sha256");
const fresh = (name: string) => {
  const path = join(work, name);
  rmSync(path, { recursive: true, force: true });
  return path;
};
// A repository of a registry shares its blobs with others: each contender pushes to a registry of its own.
const contenders: Record<string, (host: string) => number> = {
  "ours: push": (host) => {
    doppel(home, "push", "image", `${host}/ours:${run}`);
    return folderBytes(blobs);
  },
  "ours: pull": (host) => {
    const other = fresh("pulled");
    doppel(other, "pull", `${host}/ours:${run}`);
    return folderBytes(join(other, "store/blobs/sha256"));
  },
  "(s) skopeo copy into the registry": (host) => {
    program("skopeo", [
      "copy",
      "-q",
      "--dest-tls-verify=false",
      `oci:${layout}:image:latest`,
      `docker://${host}/s:${run}`,
    ]);
    return folderBytes(blobs);
  },
  "(t) skopeo copy out of the registry": (host) => {
    const other = fresh("copied");
    program("skopeo", [
      "copy",
      "-q",
      "--src-tls-verify=false",
      `docker://${host}/s:${run}`,
      `oci:${other}:image`,
    ]);
    return folderBytes(join(other, "blobs/sha256"));
  },
  "(f) curl into a registry": (host) => {
    const puts = readdirSync(blobs).flatMap((digest) => [
      "-T",
      join(blobs, digest),
      uploadAddress(host, digest),
    ]);
    program("curl", ["-sS", "--fail-early", "--fail", ...AT_ONCE, ...puts]);
    return folderBytes(blobs);
  },
  "(g) curl out of a registry": (host) => {
    const other = fresh("fetched");
    mkdirSync(other);
    const gets = readdirSync(blobs).flatMap((digest) => [
      "-o",
      join(other, digest),
      `http://${host}/v2/f/blobs/sha256:${digest}`,
    ]);
    program("curl", ["-sS", "--fail-early", "--fail", ...AT_ONCE, ...gets]);
    return folderBytes(other);
  },
  "(c) cp, and sync": () => {
    const other = fresh("cp");
    cpSync(blobs, other, { recursive: true });
    program("sync", ["-f", other]);
    return folderBytes(other);
  },
};

const results = new Map<string, Measure[]>();
try {
  using image = new DiskImage(Number(flags.mib) * 1024 * 1024);
  program("dd", [
    "if=/dev/urandom",
    `of=${image.path}`,
    "bs=1M",
    `count=${flags.mib}`,
    "status=none",
    "conv=notrunc",
  ]);
  const disk = image.attach({ readOnly: true });
  const login = [sshd.target, "--ssh-config", sshd.sshConfig(), "--identity", sshd.userKey];
  doppel(home, "capture", ...login, "--disk", disk, "--name", "image");
  for (run = 1; run <= Number(flags.runs); run++) {
    await using ours = await Registry.start();
    await using curls = await Registry.start();
    for (const [name, one] of Object.entries(contenders)) {
      const { host } = name.startsWith("ours") ? ours : name.includes("curl") ? curls : registry;
      const result = measure(() => one(host));
      results.set(name, [...(results.get(name) ?? []), result]);
      process.stderr.write(`run ${run}: ${name}: ${result.seconds.toFixed(1)} s, ${result.bytes} bytes\n`);
    }
    rmSync(join(registry.folder, "storage"), { recursive: true });
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

const summary = summarise(results);
const seconds = (name: string) => summary.find((each) => each.name.startsWith(name))?.seconds ?? Number.NaN;
const ratios = [
  ["push to (s), time", seconds("ours: push") / seconds("(s)"), 1.2],
  ["pull to (t), time", seconds("ours: pull") / seconds("(t)"), 1.2],
  ["push to (c), time", seconds("ours: push") / seconds("(c)"), 2],
  ["pull to (c), time", seconds("ours: pull") / seconds("(c)"), 2],
  ["push to (f), time", seconds("ours: push") / seconds("(f)"), null],
  ["pull to (g), time", seconds("ours: pull") / seconds("(g)"), null],
] as const;
if (flags.json) process.stdout.write(`${JSON.stringify({ summary, ratios }, undefined, 2)}\n`);
else process.stdout.write(`${table(summary)}\nmedians\n${ratioLines(ratios)}`);
