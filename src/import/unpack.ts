import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { DoppelError, wrapError } from "../errors.ts";
import { CLUSTER_BYTES } from "../image/cluster.ts";
import { OutputFile } from "../output-file.ts";
import { type RunningProgram, startProgram } from "../run-program.ts";

const PARTCLONE_MARK = "partclone-image";
/** What Clonezilla calls the first piece of a partition's image. */
const FIRST_PIECE = /\.(?:aa|aaa)$/;
const ZEROS = Buffer.alloc(CLUSTER_BYTES);

/** Programs that unpack, and the marks of what they do. */
const PACKERS: readonly { program: string; mark: Buffer }[] = [
  { program: "gzip", mark: Buffer.from([0x1f, 0x8b]) },
  { program: "zstd", mark: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]) },
  { program: "xz", mark: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) },
  { program: "bzip2", mark: Buffer.from("BZh") },
  { program: "lz4", mark: Buffer.from([0x04, 0x22, 0x4d, 0x18]) },
];

export interface UnpackOptions {
  /** A name that is free, on a disk with room. */
  target: string;
  signal?: AbortSignal | undefined;
  onStage?: ((what: string) => void) | undefined;
}

/** Whether a file must be unpacked before qemu can read it. */
export function isPacked(path: string, head: Buffer): boolean {
  return FIRST_PIECE.test(path) || packerOf(head) !== undefined || isPartclone(head);
}

/**
 * Unpacks a file, or the pieces of one, to `target`: gzip, zstd, xz, bzip2, lz4; and what is a partclone image in the end to the
 * partition that it was made from, by partclone itself. Throws `disk-image-invalid`, or `program-missing`.
 */
export async function unpack(path: string, head: Buffer, options: UnpackOptions): Promise<void> {
  options.onStage?.(`unpacking ${basename(path)}`);
  const programs: RunningProgram[] = [];
  const { signal } = options;
  const through = (program: RunningProgram, from: Readable): Readable => {
    programs.push(program);
    // A program that ends early tells why itself.
    pipeline(from, program.stdin, { ...(signal ? { signal } : {}) }).catch(() => {});
    return program.stdout;
  };
  try {
    let bytes: Readable = Readable.from(piecesOf(await findPieces(path)));
    const packer = packerOf(head);
    if (packer) bytes = through(startProgram(packer, ["-dc"]), bytes);
    const { first, rest } = await peek(bytes);
    if (isPartclone(first)) {
      const args = ["-s", "-", "-o", options.target, "--restore_raw_file", "-C", "-q", "-L", "/dev/null"];
      const partclone = startProgram("partclone.restore", args);
      through(partclone, Readable.from(rest)).resume();
    } else {
      await writeSparse(rest, options.target, signal);
    }
    for (const program of programs) await succeeded(program, path);
  } catch (error) {
    signal?.throwIfAborted();
    throw wrapError(error, "disk-image-invalid", `${path} cannot be unpacked`);
  } finally {
    for (const program of programs) program.kill();
  }
}

async function succeeded(program: RunningProgram, path: string): Promise<void> {
  const { code } = await program.exited;
  if (code === 0) return;
  const why = program.stderrTail.trim().split("\n").slice(-2).join("; ");
  throw new DoppelError("disk-image-invalid", `${path} is damaged: ${why || "it does not unpack"}`);
}

function packerOf(head: Buffer): string | undefined {
  return PACKERS.find(({ mark }) => head.subarray(0, mark.length).equals(mark))?.program;
}

function isPartclone(head: Buffer): boolean {
  return head.toString("latin1", 0, PARTCLONE_MARK.length) === PARTCLONE_MARK;
}

/** `sda1.ext4-ptcl-img.gz.aa` and the pieces that follow it, in order. */
async function findPieces(path: string): Promise<string[]> {
  if (!FIRST_PIECE.test(path)) return [path];
  const stem = basename(path).replace(FIRST_PIECE, ".");
  const names = (await readdir(dirname(path))).filter(
    (name) => name.startsWith(stem) && /^[a-z]{2,3}$/.test(name.slice(stem.length)),
  );
  return names.sort().map((name) => join(dirname(path), name));
}

async function* piecesOf(paths: readonly string[]): AsyncGenerator<Buffer> {
  for (const path of paths) yield* createReadStream(path, { highWaterMark: 1024 * 1024 });
}

/** The first bytes of a stream, and all of it. */
async function peek(stream: Readable): Promise<{ first: Buffer; rest: AsyncGenerator<Buffer> }> {
  const iterator = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let first: Buffer = Buffer.alloc(0);
  while (first.length < PARTCLONE_MARK.length) {
    const { done, value } = await iterator.next();
    if (done) break;
    first = Buffer.concat([first, value]);
  }
  async function* rest(): AsyncGenerator<Buffer> {
    yield first;
    for (;;) {
      const { done, value } = await iterator.next();
      if (done) return;
      yield value;
    }
  }
  return { first, rest: rest() };
}

/** Writes a stream as a file with holes for its zeros. */
async function writeSparse(
  bytes: AsyncIterable<Buffer>,
  target: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const output = await OutputFile.create(target);
  try {
    let at = 0;
    for await (const piece of bytes) {
      signal?.throwIfAborted();
      if (piece.length !== CLUSTER_BYTES || !piece.equals(ZEROS)) await output.writeAt(piece, at);
      at += piece.length;
    }
    await output.truncate(at);
  } finally {
    await output.close();
  }
}
