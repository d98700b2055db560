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
/** Where partclone's image has the size of its file system, by the version of the format (partclone's IMAGE_FORMATS.md). */
const PARTCLONE_VERSION_AT = 30;
const PARTCLONE_SIZE_AT: Record<string, number> = { "0001": 40, "0002": 52 };
const PARTCLONE_HEAD_BYTES = 60;
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
  /** A name that is free, on a disk with room; with `place` a file that is there. */
  target: string;
  /** Where in the target the content goes, and how much room it has. */
  place?: { offsetBytes: number; sizeBytes: number } | undefined;
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
      if (options.place) refuseLarger(partcloneBytes(first), options.place.sizeBytes);
      const partclone = startProgram("partclone.restore", partcloneArguments(options));
      through(partclone, Readable.from(rest)).resume();
    } else {
      await writeSparse(rest, options);
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

function partcloneArguments({ target, place }: UnpackOptions): string[] {
  const output = place
    ? ["-O", target, `--offset=${place.offsetBytes}`]
    : ["-o", target, "--restore_raw_file"];
  return ["-s", "-", ...output, "-C", "-q", "-L", "/dev/null"];
}

/** How large the partition was at least; 0 for a version of the format that is not known. */
function partcloneBytes(head: Buffer): number {
  const version = head.toString("latin1", PARTCLONE_VERSION_AT, PARTCLONE_VERSION_AT + 4);
  const at = PARTCLONE_SIZE_AT[version];
  return at === undefined || head.length < at + 8 ? 0 : Number(head.readBigUInt64LE(at));
}

function refuseLarger(bytes: number, mostBytes: number): void {
  if (bytes <= mostBytes) return;
  throw new DoppelError(
    "disk-image-invalid",
    `it holds ${bytes} bytes, the partition that it belongs to has ${mostBytes}`,
  );
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
  names.sort();
  for (const [index, name] of names.entries()) {
    const suffix = suffixOf(index, name.length - stem.length);
    if (name !== stem + suffix)
      throw new DoppelError("disk-image-invalid", `its piece ${stem}${suffix} is missing`);
  }
  return names.map((name) => join(dirname(path), name));
}

/** `aa`, `ab`, …, `ba`: how split(1) numbers what it makes. */
function suffixOf(index: number, letters: number): string {
  const a = "a".charCodeAt(0);
  return Array.from({ length: letters }, (_, at) =>
    String.fromCharCode(a + (Math.floor(index / 26 ** (letters - 1 - at)) % 26)),
  ).join("");
}

async function* piecesOf(paths: readonly string[]): AsyncGenerator<Buffer> {
  for (const path of paths) yield* createReadStream(path, { highWaterMark: 1024 * 1024 });
}

/** The first bytes of a stream, and all of it. */
async function peek(stream: Readable): Promise<{ first: Buffer; rest: AsyncGenerator<Buffer> }> {
  const iterator = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let first: Buffer = Buffer.alloc(0);
  while (first.length < PARTCLONE_HEAD_BYTES) {
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

/** Writes a stream as a file with holes for its zeros, or into its place of one that is there. */
async function writeSparse(
  bytes: AsyncIterable<Buffer>,
  { target, place, signal }: UnpackOptions,
): Promise<void> {
  const output = place ? await OutputFile.open(target) : await OutputFile.create(target);
  const start = place?.offsetBytes ?? 0;
  try {
    let at = 0;
    for await (const piece of bytes) {
      signal?.throwIfAborted();
      if (place) refuseLarger(at + piece.length, place.sizeBytes);
      if (piece.length !== CLUSTER_BYTES || !piece.equals(ZEROS)) await output.writeAt(piece, start + at);
      at += piece.length;
    }
    if (!place) await output.truncate(at);
    else if (at < place.sizeBytes)
      throw new DoppelError("disk-image-invalid", `it ends after ${at} of ${place.sizeBytes} bytes`);
  } finally {
    await output.close();
  }
}
