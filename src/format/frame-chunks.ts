import { CLUSTER_BYTES, RAW_FRAME_BYTES } from "../image/cluster.ts";
import type { DiskReader } from "../image/disk-reader.ts";
import type { PackIndex } from "../image/pack.ts";

/** Frames that lie one after another in a pack, with the cluster that each is the content of. */
export interface FrameChunk {
  pack: number;
  firstFrame: number;
  count: number;
  index: PackIndex;
  /** Runs of clusters, in the order of the frames. */
  runs: { firstCluster: number; count: number }[];
}

const CHUNK_BYTES = 4 * 1024 * 1024;
const CHUNK_FRAMES = 8192;
/** On a sparse disk each run may complete a table of its own, which waits for the chunk to be written. */
const CHUNK_RUNS = 256;

/** Bytes that a buffer for any chunk needs. */
export const CHUNK_ROOM_BYTES = CHUNK_BYTES + RAW_FRAME_BYTES;

/**
 * The frames of a disk in the order of its clusters, in chunks of about 4 MiB that are one read of one pack each:
 * extents that continue one another in a pack are joined, however scattered on the disk.
 */
export async function* frameChunks(disk: DiskReader): AsyncGenerator<FrameChunk> {
  let chunk: FrameChunk | undefined;
  for await (const extents of disk.map.extents()) {
    for (const extent of extents) {
      const { index } = await disk.pack(extent.pack);
      let done = 0;
      while (done < extent.count) {
        const firstFrame = extent.firstFrame + done;
        if (chunk && !continuesChunk(chunk, extent.pack, firstFrame)) {
          yield chunk;
          chunk = undefined;
        }
        chunk ??= { pack: extent.pack, firstFrame, count: 0, index, runs: [] };
        const taken = framesThatFit(chunk, extent.count - done);
        chunk.runs.push({ firstCluster: extent.firstCluster + done, count: taken });
        chunk.count += taken;
        done += taken;
      }
    }
  }
  if (chunk) yield chunk;
}

/** Bytes that the frames of a chunk take in their pack. */
export function chunkBytes(chunk: FrameChunk): number {
  return chunk.index.offsetOf(chunk.firstFrame + chunk.count) - chunk.index.offsetOf(chunk.firstFrame);
}

/** Reads the frames of a chunk into the start of `buffer`; returns that part of it. */
export async function readChunk(disk: DiskReader, chunk: FrameChunk, buffer: Buffer): Promise<Buffer> {
  const bytes = buffer.subarray(0, chunkBytes(chunk));
  const { source } = await disk.pack(chunk.pack);
  await source.read(bytes, chunk.index.offsetOf(chunk.firstFrame));
  return bytes;
}

/** The clusters of a chunk, decoded one after another. Throws `frame-corrupt` naming pack, frame and cluster. */
export function* decodedClusters(
  disk: DiskReader,
  chunk: FrameChunk,
  bytes: Buffer,
): Generator<{ cluster: number; content: Buffer }> {
  const base = chunk.index.offsetOf(chunk.firstFrame);
  let frame = chunk.firstFrame;
  for (const { firstCluster, count } of chunk.runs) {
    for (let cluster = firstCluster; cluster < firstCluster + count; cluster++, frame++) {
      const start = chunk.index.offsetOf(frame) - base;
      const encoded = bytes.subarray(start, start + chunk.index.lengthOf(frame));
      yield { cluster, content: disk.decode(chunk.pack, chunk.index, frame, cluster, encoded) };
    }
  }
}

/** Calls `visit` with each frame of a chunk: its number, its cluster, its length in bytes. */
export function eachFrame(
  chunk: FrameChunk,
  visit: (frame: number, cluster: number, lengthBytes: number) => void,
): void {
  let frame = chunk.firstFrame;
  for (const run of chunk.runs) {
    for (let i = 0; i < run.count; i++, frame++)
      visit(frame, run.firstCluster + i, chunk.index.lengthOf(frame));
  }
}

/** Bytes of the disk that a chunk is the content of. */
export function chunkDiskBytes(chunk: FrameChunk): number {
  return chunk.count * CLUSTER_BYTES;
}

function continuesChunk(chunk: FrameChunk, pack: number, frame: number): boolean {
  const follows = chunk.pack === pack && chunk.firstFrame + chunk.count === frame;
  const small =
    chunk.count < CHUNK_FRAMES && chunk.runs.length < CHUNK_RUNS && chunkBytes(chunk) < CHUNK_BYTES;
  return follows && small;
}

function framesThatFit(chunk: FrameChunk, most: number): number {
  const start = chunk.index.offsetOf(chunk.firstFrame);
  let frame = chunk.firstFrame + chunk.count;
  const limit = Math.min(frame + most, chunk.firstFrame + CHUNK_FRAMES);
  while (frame < limit && chunk.index.offsetOf(frame) - start < CHUNK_BYTES) frame++;
  return frame - chunk.firstFrame - chunk.count;
}
