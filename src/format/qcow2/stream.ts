import { CLUSTER_BYTES, RAW_FRAME_BYTES, RAW_FRAME_PAYLOAD_OFFSET } from "../../image/cluster.ts";
import type { DiskReader } from "../../image/disk-reader.ts";
import { eachFrame, type FrameChunk, frameChunks } from "../frame-chunks.ts";
import { encodeHeader, type Qcow2Layout } from "./layout.ts";
import { FramePlacement } from "./placement.ts";
import { encodeRefcountTable, MappingWriter, RefcountWriter, type TableSink } from "./tables.ts";

/**
 * The file that qcow2Format writes, from its first byte to its last, for a receiver that cannot seek. Tables are made from
 * the packs' indexes, which are read once for each kind of table; a frame's bytes are read once. Each piece is a buffer of
 * its own.
 */
export async function* streamQcow2(disk: DiskReader, layout: Qcow2Layout): AsyncGenerator<Buffer, void> {
  const header = Buffer.alloc(CLUSTER_BYTES);
  encodeHeader(layout).copy(header);
  yield header;
  yield encodeRefcountTable(layout);
  yield* refcountBlocks(disk, layout);
  yield* mappingTables(disk, layout, "l1Table");
  yield* mappingTables(disk, layout, "l2Tables");
  yield* compressedFrames(disk);
  const { clusters, bytes } = layout.compressed;
  if (bytes < clusters * CLUSTER_BYTES) yield Buffer.alloc(clusters * CLUSTER_BYTES - bytes);
  yield* plainClusters(disk);
}

type TableRegion = "refcountBlocks" | "l1Table" | "l2Tables";

/** Keeps the tables of one region, in the order in which they are written; the others are made again for their own turn. */
class RegionSink implements TableSink {
  readonly tables: Buffer[] = [];
  readonly #firstByte: number;
  readonly #endByte: number;

  constructor(layout: Qcow2Layout, region: TableRegion) {
    this.#firstByte = layout[region].first * CLUSTER_BYTES;
    this.#endByte = this.#firstByte + layout[region].clusters * CLUSTER_BYTES;
  }

  async writeAt(table: Buffer, offsetBytes: number): Promise<void> {
    if (offsetBytes >= this.#firstByte && offsetBytes < this.#endByte) this.tables.push(table);
  }
}

async function* refcountBlocks(disk: DiskReader, layout: Qcow2Layout): AsyncGenerator<Buffer, void> {
  const sink = new RegionSink(layout, "refcountBlocks");
  const refcounts = new RefcountWriter(sink, layout);
  const placement = new FramePlacement(layout);
  for await (const chunk of frameChunks(disk)) {
    eachFrame(chunk, (_frame, _cluster, lengthBytes) => {
      const { plain, offsetBytes } = placement.next(lengthBytes);
      if (!plain) refcounts.touch(offsetBytes, lengthBytes);
    });
    await refcounts.flush();
    yield* sink.tables.splice(0);
  }
  await refcounts.finish();
  yield* sink.tables.splice(0);
}

async function* mappingTables(
  disk: DiskReader,
  layout: Qcow2Layout,
  region: "l1Table" | "l2Tables",
): AsyncGenerator<Buffer, void> {
  const sink = new RegionSink(layout, region);
  const mapping = new MappingWriter(sink, layout);
  const placement = new FramePlacement(layout);
  for await (const chunk of frameChunks(disk)) {
    const flushes: Promise<void>[] = [];
    eachFrame(chunk, (_frame, cluster, lengthBytes) => {
      const { plain, offsetBytes } = placement.next(lengthBytes);
      if (mapping.needsFlush(cluster)) flushes.push(mapping.flush());
      if (plain) mapping.plain(cluster, offsetBytes);
      else mapping.compressed(cluster, offsetBytes, lengthBytes);
    });
    await Promise.all(flushes);
    yield* sink.tables.splice(0);
  }
  placement.finish();
  await mapping.finish();
  yield* sink.tables.splice(0);
}

async function* compressedFrames(disk: DiskReader): AsyncGenerator<Buffer, void> {
  for await (const chunk of frameChunks(disk)) {
    for (const run of runsOf(chunk, (lengthBytes) => lengthBytes < RAW_FRAME_BYTES))
      yield await readFrames(disk, chunk, run);
  }
}

async function* plainClusters(disk: DiskReader): AsyncGenerator<Buffer, void> {
  for await (const chunk of frameChunks(disk)) {
    for (const run of runsOf(chunk, (lengthBytes) => lengthBytes === RAW_FRAME_BYTES)) {
      const frames = await readFrames(disk, chunk, run);
      for (let at = 0; at < frames.length; at += RAW_FRAME_BYTES)
        yield frames.subarray(at + RAW_FRAME_PAYLOAD_OFFSET, at + RAW_FRAME_PAYLOAD_OFFSET + CLUSTER_BYTES);
    }
  }
}

interface FrameRun {
  firstFrame: number;
  count: number;
}

/** The longest runs of frames of a chunk whose lengths are wanted. */
function runsOf(chunk: FrameChunk, wanted: (lengthBytes: number) => boolean): FrameRun[] {
  const runs: FrameRun[] = [];
  eachFrame(chunk, (frame, _cluster, lengthBytes) => {
    if (!wanted(lengthBytes)) return;
    const last = runs.at(-1);
    if (last && last.firstFrame + last.count === frame) last.count++;
    else runs.push({ firstFrame: frame, count: 1 });
  });
  return runs;
}

async function readFrames(disk: DiskReader, chunk: FrameChunk, run: FrameRun): Promise<Buffer> {
  const { source, index } = await disk.pack(chunk.pack);
  const start = index.offsetOf(run.firstFrame);
  const bytes = Buffer.allocUnsafeSlow(index.offsetOf(run.firstFrame + run.count) - start);
  await source.read(bytes, start);
  return bytes;
}
