import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { LARGE_DISK_BYTE, makeLargeDisk, makeManyImages } from "../../fixtures/large-store.ts";
import { median } from "./measure.ts";

// How the store does at its largest: a disk of 16 TiB in 8,192 packs, and ten thousand images.
const { values: flags } = parseArgs({
  options: { runs: { type: "string", default: "3" }, json: { type: "boolean", default: false } },
});
const root = resolve(process.argv[1] ?? ".", "../../../..");
const work = mkdtempSync(join(tmpdir(), "doppel-bench-store-"));
const launcher = join(root, "bin/doppel");
const MIB = 1024 * 1024;
const IMAGES = 10_000;

const seconds = (startedMs: number) => (performance.now() - startedMs) / 1000;

function environment(home: string): NodeJS.ProcessEnv {
  return { ...process.env, DOPPEL_HOME: home };
}

function run(home: string, ...args: string[]): number {
  const started = performance.now();
  execFileSync(launcher, args, { env: environment(home), stdio: "ignore", maxBuffer: 64 * MIB });
  return seconds(started);
}

/** The most memory that a process has had, in bytes (proc(5), VmHWM). */
function peakBytes({ pid }: ChildProcess): number {
  const kib = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
  return Number(kib) * 1024;
}

/** From the start of `doppel serve` until it can be used, and until a client has read from all over the disk. */
async function serveLargeDisk(home: string): Promise<{ opened: number; read: number; bytes: number }> {
  const started = performance.now();
  const socket = join(work, "nbd.sock");
  const serving = spawn(launcher, ["serve", "large", "--socket", socket], {
    env: environment(home),
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(serving.stdout, "data");
  const opened = seconds(started);
  const reads = [0, 5, 9, 15].flatMap((tib) => ["-c", `read -P ${LARGE_DISK_BYTE} ${tib}T 256k`]);
  const reading = performance.now();
  execFileSync("qemu-io", ["-r", "-f", "raw", ...reads, `nbd+unix:///?socket=${socket}`], {
    stdio: "ignore",
  });
  const read = seconds(reading);
  const bytes = peakBytes(serving);
  serving.kill("SIGINT");
  await once(serving, "exit");
  return { opened, read, bytes };
}

interface Figure {
  what: string;
  values: number[];
  unit: string;
  most?: number;
}

try {
  const [large, many, none] = [join(work, "large"), join(work, "many"), join(work, "none")];
  await makeLargeDisk(large);
  await makeManyImages(many, IMAGES);
  run(none, "images", "ls");
  const opening: Figure = { what: "opening 16 TiB in 8,192 packs", values: [], unit: "s", most: 1 };
  const reading: Figure = { what: "then reading 1 MiB in four places, with qemu-io", values: [], unit: "s" };
  const memory: Figure = { what: "most memory of doppel serve", values: [], unit: "MiB", most: 200 };
  const empty: Figure = { what: "images ls of an empty store: the start-up", values: [], unit: "s" };
  const list: Figure = {
    what: `images ls of ${IMAGES} images, beyond that`,
    values: [],
    unit: "s",
    most: 0.1,
  };
  const json: Figure = { what: "the same with --json", values: [], unit: "s", most: 0.1 };
  for (let each = 1; each <= Number(flags.runs); each++) {
    const { opened, read, bytes } = await serveLargeDisk(large);
    opening.values.push(opened);
    reading.values.push(read);
    memory.values.push(bytes / MIB);
    const startUp = run(none, "images", "ls");
    empty.values.push(startUp);
    list.values.push(run(many, "images", "ls") - startUp);
    json.values.push(run(many, "images", "ls", "--json") - startUp);
  }
  const figures = [opening, reading, memory, empty, list, json];
  if (flags.json) process.stdout.write(`${JSON.stringify(figures, undefined, 2)}\n`);
  else for (const figure of figures) process.stdout.write(line(figure));
} finally {
  rmSync(work, { recursive: true, force: true });
}

function line({ what, values, unit, most }: Figure): string {
  const value = median(values);
  const goal = most === undefined ? "" : `  to reach: ${most}${value <= most ? "" : "  MISSED"}`;
  return `${what.padEnd(50)} ${value.toFixed(unit === "s" ? 3 : 1).padStart(8)} ${unit}${goal}\n`;
}
