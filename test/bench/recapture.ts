import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Sshd } from "../../fixtures/sshd.ts";
import { parseSize } from "../../src/units.ts";
import { benchDisk, rewriteFiles } from "./disk.ts";
import { type Measure, measure, ratioLines, table } from "./measure.ts";

// One disk captured again and again while a share of its files is rewritten between: ours over loopback SSH, each a child of the
// one before; restic and borg, which read the same raw file and know their own earlier snapshots.
const { values: flags } = parseArgs({
  options: {
    captures: { type: "string", default: "10" },
    /** Share of the used bytes that changes between two captures, in percent. */
    changed: { type: "string", default: "1" },
    disk: { type: "string", default: "8G" },
    used: { type: "string", default: "3G" },
    work: { type: "string", default: join(tmpdir(), "doppel-bench-recapture") },
    json: { type: "boolean", default: false },
  },
});
const root = resolve(process.argv[1] ?? ".", "../../../..");
mkdirSync(resolve(flags.work), { recursive: true });
const work = mkdtempSync(join(resolve(flags.work), "run-"));
const fresh = join(resolve(flags.work), `disk-${flags.disk}-${flags.used}.img`);
const disk = join(work, "disk.img");

const env = {
  ...process.env,
  DOPPEL_HOME: join(work, "home"),
  RESTIC_REPOSITORY: join(work, "restic"),
  RESTIC_PASSWORD: "bench",
  RESTIC_CACHE_DIR: join(work, "restic-cache"),
  BORG_REPO: join(work, "borg"),
  BORG_BASE_DIR: join(work, "borg-base"),
};

function program(file: string, ...args: string[]): string {
  return execFileSync(file, args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

function treeBytes(folder: string): number {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).reduce((sum, name) => {
    const found = statSync(join(folder, name));
    return sum + (found.isFile() ? found.size : 0);
  }, 0);
}

benchDisk(fresh, { diskBytes: parseSize(flags.disk), usedBytes: parseSize(flags.used), seed: 12 });
execFileSync("cp", ["--sparse=always", fresh, disk]);
await using sshd = await Sshd.start();
const login = [sshd.target, "--ssh-config", sshd.sshConfig(), "--identity", sshd.userKey];
program("restic", "init", "-q");
program("borg", "init", "--encryption", "none");

const contenders: Record<string, (day: number) => number> = {
  "ours: capture --parent over ssh": (day) => {
    const loop = program("losetup", "--find", "--show", "--read-only", disk).trim();
    try {
      const parent = day > 0 ? ["--parent", `day:${day - 1}`] : [];
      const name = ["--name", `day:${day}`, "--disk", loop];
      program(join(root, "bin/doppel"), "capture", ...login, ...name, ...parent, "--json");
    } finally {
      program("losetup", "--detach", loop);
    }
    return treeBytes(join(work, "home/store"));
  },
  "(r) restic backup --compression auto": () => {
    program("restic", "backup", "-q", "--compression", "auto", disk);
    return treeBytes(join(work, "restic"));
  },
  "(b) borg create --compression zstd,3": (day) => {
    program("borg", "create", "--compression", "zstd,3", `::day-${day}`, disk);
    return treeBytes(join(work, "borg"));
  },
};

const results = new Map<string, Measure[]>();
try {
  for (let day = 0; day < Number(flags.captures); day++) {
    const changedBytes = (parseSize(flags.used) * Number(flags.changed)) / 100;
    if (day > 0) rewriteFiles(disk, { changedBytes, seed: 100 + day });
    execFileSync("bash", ["-c", 'cat "$1" > /dev/null', "bash", disk]);
    for (const [name, capture] of Object.entries(contenders)) {
      const result = measure(() => capture(day));
      results.set(name, [...(results.get(name) ?? []), result]);
      process.stderr.write(`${day}: ${name}: ${result.seconds.toFixed(1)} s, ${result.bytes} bytes in all\n`);
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** All captures together; the bytes are those of the repository after the last one. */
const total = [...results].map(([name, days]) => ({
  name,
  seconds: days.reduce((sum, { seconds }) => sum + seconds, 0),
  cpuSeconds: days.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
  bytes: days.at(-1)?.bytes ?? 0,
}));
const later = [...results].map(([name, days]) => ({
  name: `  ${name.split(" ")[0]} a later one, mean`,
  seconds: days.slice(1).reduce((sum, { seconds }) => sum + seconds, 0) / (days.length - 1),
  cpuSeconds: days.slice(1).reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0) / (days.length - 1),
  bytes: Math.round(((days.at(-1)?.bytes ?? 0) - (days[0]?.bytes ?? 0)) / (days.length - 1)),
}));
const [ours, restic, borg] = total;
if (!ours || !restic || !borg) throw new Error("every contender has run");
const ratios = [
  ["to restic, time of all", ours.seconds / restic.seconds, 1],
  ["to borg, time of all", ours.seconds / borg.seconds, 1],
  ["to the smaller repository, bytes", ours.bytes / Math.min(restic.bytes, borg.bytes), 1.1],
] as const;
if (flags.json) process.stdout.write(`${JSON.stringify({ total, later, ratios }, undefined, 2)}\n`);
else process.stdout.write(`${table(total)}\n${table(later)}\n${ratioLines(ratios)}`);
