import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { seeded } from "../../fixtures/disks.ts";

const MIB = 1024 * 1024;
const POOL_BYTES = 16 * MIB;

/** What a server's files are made of, by share of bytes. */
const MIXTURE = [
  ["text", 0.32],
  ["log", 0.28],
  ["table", 0.24],
  ["program", 0.12],
  ["packed", 0.04],
] as const;

type Kind = (typeof MIXTURE)[number][0];

/**
 * Makes a raw disk of `diskBytes` with ext4 and about `usedBytes` of files, the same for the same seed: prose, logs,
 * database pages, programs, and data that is compressed already; a tenth is removed again. A cluster compresses to about
 * a third, as those of a Debian system's /usr/lib do. Kept when it is there.
 */
export function benchDisk(
  path: string,
  options: { diskBytes: number; usedBytes: number; seed: number },
): void {
  if (existsSync(path)) return;
  mkdirSync(dirname(path), { recursive: true });
  const building = `${path}.building`;
  rmSync(building, { force: true });
  writeFileSync(building, "");
  truncateSync(building, options.diskBytes);
  execFileSync("mkfs.ext4", ["-q", "-F", "-U", "5f1d0f6e-0d3a-4f52-8c44-2d3d5fd0b001", building]);
  withMounted(building, (folder) => writeFiles(folder, options.usedBytes, seeded(options.seed)));
  renameSync(building, path);
}

/**
 * Rewrites files of a disk that `benchDisk` made until about `changedBytes` have changed: each whole, with other content of its
 * kind of disk. The same for the same seed.
 */
export function rewriteFiles(path: string, options: { changedBytes: number; seed: number }): void {
  const random = seeded(options.seed);
  const pools = new Map(MIXTURE.map(([kind]) => [kind, makePool(kind, random)]));
  withMounted(path, (folder) => {
    const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
      /\/f\d+$/.test(name),
    );
    names.sort();
    let changed = 0;
    while (changed < options.changedBytes) {
      const file = join(folder, names[Math.floor(random() * names.length)] ?? "");
      const bytes = statSync(file).size;
      if (changed + bytes > options.changedBytes * 1.1) continue;
      writeFile(file, pools.get(chooseKind(random())) ?? Buffer.alloc(0), bytes, random);
      changed += bytes;
    }
  });
}

function withMounted(path: string, work: (folder: string) => void): void {
  const loop = execFileSync("losetup", ["--find", "--show", path], { encoding: "utf8" }).trim();
  const folder = `${path}.mnt`;
  mkdirSync(folder, { recursive: true });
  execFileSync("mount", [loop, folder]);
  try {
    work(folder);
  } finally {
    execFileSync("umount", [folder]);
    execFileSync("losetup", ["--detach", loop]);
    rmSync(folder, { recursive: true });
  }
}

function writeFiles(folder: string, usedBytes: number, random: () => number): void {
  const pools = new Map(MIXTURE.map(([kind]) => [kind, makePool(kind, random)]));
  const removed: string[] = [];
  let written = 0;
  for (let number = 0; written < usedBytes * 1.1; number++) {
    const parent = join(folder, `d${number % 97}`, `e${number % 13}`);
    if (number < 97 * 13) mkdirSync(parent, { recursive: true });
    const path = join(parent, `f${number}`);
    const bytes = Math.floor(2 ** (9 + random() * random() * 17));
    writeFile(path, pools.get(chooseKind(random())) ?? Buffer.alloc(0), bytes, random);
    written += bytes;
    if (random() < 0.1) removed.push(path);
  }
  execFileSync("sync", ["-f", folder]);
  for (const path of removed) rmSync(path);
}

/** A file of slices of a pool, each another one, so that no two clusters are the same. */
function writeFile(path: string, pool: Buffer, bytes: number, random: () => number): void {
  const file = openSync(path, "w");
  for (let left = bytes; left > 0; ) {
    const length = Math.min(left, 8192 + Math.floor(random() * 120_000));
    const start = Math.floor(random() * (pool.length - length));
    writeSync(file, pool, start, length);
    left -= length;
  }
  closeSync(file);
}

function chooseKind(point: number): Kind {
  let sum = 0;
  for (const [kind, share] of MIXTURE) {
    sum += share;
    if (point < sum) return kind;
  }
  return "text";
}

function makePool(kind: Kind, random: () => number): Buffer {
  const makers: Record<Kind, (random: () => number) => string | Buffer> = {
    text: proseMaker(random),
    log: logLine,
    table: tableRow,
    program: instructions,
    packed: noise,
  };
  const pool = Buffer.alloc(POOL_BYTES);
  for (let at = 0; at < pool.length; ) {
    const piece = makers[kind](random);
    const bytes = typeof piece === "string" ? Buffer.from(piece, "latin1") : piece;
    bytes.copy(pool, at);
    at += bytes.length;
  }
  return pool;
}

/** Words of a vocabulary, the frequent ones often (Zipf). */
function proseMaker(random: () => number): (random: () => number) => string {
  const letters = "etaoinshrdlucmfwypvbgkjqxz";
  const word = () =>
    Array.from({ length: 2 + Math.floor(random() * 8) }, () => letters[Math.floor(random() ** 2 * 26)]).join(
      "",
    );
  const vocabulary = Array.from({ length: 20_000 }, word);
  return (r) => {
    const words = Array.from({ length: 12 }, () => vocabulary[Math.floor(20_000 ** r()) - 1] ?? "the");
    return `${words.join(" ")}.${r() < 0.2 ? "\n" : " "}`;
  };
}

let clock = 1_700_000_000;
/** A web server's log: few visitors and pages make most of the lines. */
function logLine(random: () => number): string {
  clock += Math.floor(random() * 3);
  const visitor = Math.floor(400 ** random());
  const address = `10.${visitor % 7}.${visitor % 31}.${visitor % 250}`;
  const status = random() < 0.9 ? 200 : 404;
  const id = Math.floor(random() * 2 ** 24).toString(16);
  return `${new Date(clock * 1000).toISOString()} ${address} GET /item/${Math.floor(2000 ** random())} ${status} ${Math.floor(random() * 1e4)} ${id}\n`;
}

/** A database row: a growing key, numbers, a short text, padding. */
function tableRow(random: () => number): Buffer {
  const row = Buffer.alloc(96);
  row.writeUInt32LE(clock++ >>> 0, 0);
  row.writeDoubleLE(random() * 1000, 8);
  row.writeUInt32LE(Math.floor(random() * 2 ** 32), 16);
  row.write(`customer-${Math.floor(random() * 1e7)}@mail.example`, 24, "latin1");
  for (let i = 64; i < 64 + Math.floor(random() * 32); i++) row[i] = Math.floor(random() * 256);
  return row;
}

/** Something like machine code: few opcodes, operands of all kinds. */
function instructions(random: () => number): Buffer {
  const opcodes = [0x48, 0x89, 0x8b, 0xe8, 0x0f, 0x83, 0xc3, 0x55, 0x41, 0xff];
  const code = Buffer.alloc(8);
  for (let i = 0; i < 8; i++)
    code[i] =
      random() < 0.8 ? (opcodes[Math.floor(random() ** 2 * 10)] ?? 0) : Math.floor(random() ** 2 * 256);
  return code;
}

function noise(random: () => number): Buffer {
  const bytes = Buffer.alloc(64);
  for (let i = 0; i < 64; i += 4) bytes.writeUInt32LE(Math.floor(random() * 2 ** 32), i);
  return bytes;
}
