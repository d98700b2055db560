import { decodeFrame } from "../image/frame.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import { type PackIndex, readPackIndex } from "../image/pack.ts";
import { storedBlobs } from "./blob-source.ts";
import type { BlobStore } from "./blobs.ts";
import { checkPack } from "./check-blob.ts";
import { unlessCorrupt } from "./unless-corrupt.ts";

const PIECE_BYTES = 4 * 1024 * 1024;

/**
 * Puts a pack together again out of its own sound frames and frames of other packs that hold the same clusters. It is kept
 * only when all of it has the pack's digest, which it has not when the same cluster was compressed in another way. The bad pack
 * stays until the good one takes its place. Returns whether that worked; with `dryRun` whether it would.
 */
export async function rebuildPack(
  blobs: BlobStore,
  digest: string,
  others: Iterable<string>,
  options: { dryRun: boolean; signal: AbortSignal | undefined },
): Promise<boolean> {
  const sizeBytes = await blobs.size(digest);
  if (sizeBytes === undefined) return false;
  const descriptor = { mediaType: MEDIA_TYPES.pack, digest, size: sizeBytes };
  const check = { signal: options.signal, onBytes: () => {} };
  const checked = await unlessCorrupt(checkPack(storedBlobs(blobs, options.signal), descriptor, check));
  const bad = checked?.faults.flatMap(({ frame }) => frame ?? []) ?? [];
  if (bad.length === 0) return false;
  await using pack = await blobs.openBlob(digest);
  const index = await readPackIndex(pack, digest);
  const good = await findFrames(blobs, index, bad, others, options.signal);
  if (good.size < bad.length) return false;
  await using writer = await blobs.create();
  for (let at = 0; at < pack.sizeBytes; at += PIECE_BYTES) {
    options.signal?.throwIfAborted();
    const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, pack.sizeBytes - at));
    await pack.read(piece, at);
    for (const [frame, bytes] of good) replace(piece, at, bytes, index.offsetOf(frame));
    await writer.append(piece);
  }
  if (writer.digest() !== digest) return false;
  if (!options.dryRun) await writer.commit(digest);
  return true;
}

/** Sound frames with the hashes and lengths of bad ones, from the first pack that has each. */
async function findFrames(
  blobs: BlobStore,
  index: PackIndex,
  bad: readonly number[],
  others: Iterable<string>,
  signal: AbortSignal | undefined,
): Promise<Map<number, Buffer>> {
  const wanted = new Map<string, number[]>();
  for (const frame of bad) {
    const hash = index.hashOf(frame).toString("hex");
    wanted.set(hash, [...(wanted.get(hash) ?? []), frame]);
  }
  const found = new Map<number, Buffer>();
  for (const other of others) {
    signal?.throwIfAborted();
    if (found.size === bad.length) break;
    await unlessCorrupt(takeFrames(blobs, other, index, wanted, found));
  }
  return found;
}

async function takeFrames(
  blobs: BlobStore,
  other: string,
  index: PackIndex,
  wanted: ReadonlyMap<string, number[]>,
  found: Map<number, Buffer>,
): Promise<void> {
  await using pack = await blobs.openBlob(other);
  const otherIndex = await readPackIndex(pack, other);
  for (let candidate = 0; candidate < otherIndex.frameCount; candidate++) {
    const frames = wanted.get(otherIndex.hashOf(candidate).toString("hex")) ?? [];
    const missing = frames.filter(
      (frame) => !found.has(frame) && index.lengthOf(frame) === otherIndex.lengthOf(candidate),
    );
    if (missing.length === 0) continue;
    const bytes = Buffer.allocUnsafe(otherIndex.lengthOf(candidate));
    await pack.read(bytes, otherIndex.offsetOf(candidate));
    if (typeof decodeFrame(bytes, otherIndex.hashOf(candidate)) === "string") continue;
    for (const frame of missing) found.set(frame, bytes);
  }
}

/** Writes the part of a frame that lies in a piece of the pack, which begins at `pieceAt`. */
function replace(piece: Buffer, pieceAt: number, frame: Buffer, frameAt: number): void {
  const from = Math.max(frameAt, pieceAt);
  const end = Math.min(frameAt + frame.length, pieceAt + piece.length);
  if (from < end) frame.copy(piece, from - pieceAt, from - frameAt, end - frameAt);
}
