import { CLUSTER_BYTES, RAW_FRAME_PAYLOAD_OFFSET } from "../../image/cluster.ts";
import type { DiskReader } from "../../image/disk-reader.ts";
import type { OutputFile } from "../../output-file.ts";
import type { DiskFormat, PreparedDisk, WriteOptions } from "../format.ts";
import {
  CHUNK_ROOM_BYTES,
  chunkDiskBytes,
  eachFrame,
  type FrameChunk,
  frameChunks,
  readChunk,
} from "../frame-chunks.ts";
import { encodeHeader, planQcow2, type Qcow2Layout } from "./layout.ts";
import { FramePlacement } from "./placement.ts";
import { MappingWriter, RefcountWriter } from "./tables.ts";

/** qcow2 version 3 with zstd compression: frames are copied, never recompressed. */
export const qcow2Format: DiskFormat = {
  name: "qcow2",
  extensions: [".qcow2"],
  async prepare(disk): Promise<PreparedDisk> {
    const layout = await planQcow2(disk);
    return {
      occupiedBytes: layout.fileClusters * CLUSTER_BYTES,
      write: (output, options) => new Qcow2Writer(disk, layout, output).write(options),
    };
  },
};

/** One pass over the frames: their bytes into the two data regions, their places into the tables. */
class Qcow2Writer {
  readonly #disk: DiskReader;
  readonly #layout: Qcow2Layout;
  readonly #output: OutputFile;
  readonly #mapping: MappingWriter;
  readonly #refcounts: RefcountWriter;
  readonly #placement: FramePlacement;

  constructor(disk: DiskReader, layout: Qcow2Layout, output: OutputFile) {
    this.#disk = disk;
    this.#layout = layout;
    this.#output = output;
    this.#mapping = new MappingWriter(output, layout);
    this.#refcounts = new RefcountWriter(output, layout);
    this.#placement = new FramePlacement(layout);
  }

  async write(options: WriteOptions): Promise<void> {
    await this.#output.truncate(this.#layout.fileClusters * CLUSTER_BYTES);
    const totalBytes = this.#disk.map.coveredClusters * CLUSTER_BYTES;
    // Two buffers: one is being written while the next is read.
    const buffers = [
      Buffer.allocUnsafeSlow(CHUNK_ROOM_BYTES),
      Buffer.allocUnsafeSlow(CHUNK_ROOM_BYTES),
    ] as const;
    let writing: Promise<void> = Promise.resolve();
    let doneBytes = 0;
    let turn = 0;
    try {
      for await (const chunk of frameChunks(this.#disk)) {
        options.signal?.throwIfAborted();
        const bytes = await readChunk(this.#disk, chunk, buffers[turn] ?? buffers[0]);
        turn = 1 - turn;
        await writing;
        writing = this.#place(chunk, bytes);
        // A failure is met at the next await; until then it must not count as unhandled.
        writing.catch(() => {});
        doneBytes += chunkDiskBytes(chunk);
        options.onProgress?.({ doneBytes, totalBytes });
      }
    } finally {
      await writing;
    }
    await this.#finish();
  }

  /** Scatters a chunk: compressed frames close up in one region, raw payloads in the other. */
  async #place(chunk: FrameChunk, bytes: Buffer): Promise<void> {
    const compressed: Buffer[] = [];
    const plain: Buffer[] = [];
    const { compressedAt: compressedStart, plainAt: plainStart } = this.#placement;
    const base = chunk.index.offsetOf(chunk.firstFrame);
    const flushes: Promise<void>[] = [];
    let runStart = 0;
    let at = 0;
    const closeRun = () => {
      if (at > runStart) compressed.push(bytes.subarray(runStart, at));
    };
    eachFrame(chunk, (frame, cluster, lengthBytes) => {
      at = chunk.index.offsetOf(frame) - base;
      if (this.#mapping.needsFlush(cluster)) flushes.push(this.#mapping.flush());
      const place = this.#placement.next(lengthBytes);
      if (place.plain) {
        closeRun();
        const payload = at + RAW_FRAME_PAYLOAD_OFFSET;
        plain.push(bytes.subarray(payload, payload + CLUSTER_BYTES));
        runStart = at + lengthBytes;
        this.#mapping.plain(cluster, place.offsetBytes);
      } else {
        this.#mapping.compressed(cluster, place.offsetBytes, lengthBytes);
        this.#refcounts.touch(place.offsetBytes, lengthBytes);
      }
      at += lengthBytes;
    });
    closeRun();
    await Promise.all([
      ...flushes,
      this.#refcounts.flush(),
      this.#output.writeAllAt(compressed, compressedStart),
      this.#output.writeAllAt(plain, plainStart),
    ]);
  }

  async #finish(): Promise<void> {
    this.#placement.finish();
    await this.#mapping.finish();
    await this.#refcounts.finish();
    await this.#output.writeAt(encodeHeader(this.#layout), 0);
  }
}
