import { CLUSTER_BYTES } from "../image/cluster.ts";
import type { DiskReader } from "../image/disk-reader.ts";
import type { OutputFile } from "../output-file.ts";
import type { DiskFormat, PreparedDisk, WriteOptions } from "./format.ts";
import {
  CHUNK_ROOM_BYTES,
  chunkDiskBytes,
  decodedClusters,
  type FrameChunk,
  frameChunks,
  readChunk,
} from "./frame-chunks.ts";

/** The disk's bytes as they are; what no extent covers is a hole. */
export const rawFormat: DiskFormat = {
  name: "raw",
  extensions: [".raw", ".img"],
  async prepare(disk): Promise<PreparedDisk> {
    return {
      occupiedBytes: disk.map.coveredClusters * CLUSTER_BYTES,
      write: (output, options) => writeRaw(disk, output, options),
    };
  },
};

async function writeRaw(disk: DiskReader, output: OutputFile, options: WriteOptions): Promise<void> {
  await output.truncate(disk.diskBytes);
  const totalBytes = disk.map.coveredClusters * CLUSTER_BYTES;
  const buffer = Buffer.allocUnsafeSlow(CHUNK_ROOM_BYTES);
  let doneBytes = 0;
  for await (const chunk of frameChunks(disk)) {
    options.signal?.throwIfAborted();
    const bytes = await readChunk(disk, chunk, buffer);
    await writeClusters(disk, chunk, bytes, output);
    doneBytes += chunkDiskBytes(chunk);
    options.onProgress?.({ doneBytes, totalBytes });
  }
}

/** Decodes a chunk in pieces of 4 MiB, so that memory does not follow how well the frames compress. */
async function writeClusters(
  disk: DiskReader,
  chunk: FrameChunk,
  bytes: Buffer,
  output: OutputFile,
): Promise<void> {
  const writes: { at: number; clusters: Buffer[] }[] = [];
  let gathered = 0;
  const flush = async () => {
    for (const { at, clusters } of writes.splice(0)) await output.writeAllAt(clusters, at);
    gathered = 0;
  };
  let nextAt = -1;
  for (const { cluster, content } of decodedClusters(disk, chunk, bytes)) {
    // Cut at the end of the disk.
    const decoded = content.subarray(0, Math.min(CLUSTER_BYTES, disk.diskBytes - cluster * CLUSTER_BYTES));
    const at = cluster * CLUSTER_BYTES;
    const last = writes.at(-1);
    if (last && at === nextAt) last.clusters.push(decoded);
    else writes.push({ at, clusters: [decoded] });
    nextAt = at + decoded.length;
    gathered += decoded.length;
    if (gathered >= 4 * 1024 * 1024) await flush();
  }
  await flush();
}
