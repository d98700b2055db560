import { availableParallelism } from "node:os";
import { DoppelError } from "../../errors.ts";
import { CLUSTER_BYTES } from "../../image/cluster.ts";
import type { DiskReader } from "../../image/disk-reader.ts";
import type { OutputFile } from "../../output-file.ts";
import { deflateFrames } from "../deflate.ts";
import type { DiskFormat, PreparedDisk, WriteOptions } from "../format.ts";
import { chunkBytes, eachFrame, frameChunks, readChunk } from "../frame-chunks.ts";
import { GrainTables } from "./grain-tables.ts";
import {
  DIRECTORY_AT_END,
  encodeDescriptor,
  encodeHeader,
  GRAIN_SECTORS,
  type HeaderFields,
  MOST_FILE_SECTORS,
  SECTOR_BYTES,
  sectorsOf,
  TABLE_SECTORS,
} from "./header.ts";

/** What a marker announces ("Stream-Optimized Compressed Sparse Extents", Marker). */
const MARKER = { endOfStream: 0, grainTable: 1, grainDirectory: 2, footer: 3 } as const;

const FIRST_GRAIN_SECTOR = 128;
/** Frames of one job of the thread pool. */
const FRAMES_A_JOB = 32;
/** A grain's marker: its first sector, 8 bytes, and the length of its data, 4. */
const GRAIN_MARKER_BYTES = 12;

/** VMDK streamOptimized, version 3: compressed grains in the order of the disk, tables behind them. */
export const streamOptimizedFormat: DiskFormat = {
  name: "vmdk",
  extensions: [".vmdk"],
  async prepare(disk): Promise<PreparedDisk> {
    return {
      // How well deflate does is known when it is done: about a tenth worse than zstd.
      occupiedBytes: Math.ceil(disk.map.packs.reduce((sum, pack) => sum + pack.sizeBytes, 0) * 1.1),
      write: async (output, options) => {
        await new StreamWriter(disk, output, 0).write(options);
      },
    };
  },
};

/** Frames on their way through the thread pool. */
interface Job {
  clusters: Uint32Array;
  pack: string;
  result: Promise<{ data: Buffer; lengths: Uint32Array }>;
}

/** Writes a stream from `startBytes` of a file on, front to back. `onBytes` hears every byte in its order. */
export class StreamWriter {
  readonly #disk: DiskReader;
  readonly #output: OutputFile;
  readonly #startBytes: number;
  readonly #onBytes: ((bytes: Buffer) => void) | undefined;
  readonly #header: HeaderFields;
  readonly #tables: GrainTables;
  #sector = 0;

  constructor(disk: DiskReader, output: OutputFile, startBytes: number, onBytes?: (bytes: Buffer) => void) {
    this.#disk = disk;
    this.#output = output;
    this.#startBytes = startBytes;
    this.#onBytes = onBytes;
    const capacitySectors = sectorsOf(disk.diskBytes);
    this.#tables = new GrainTables(capacitySectors, GRAIN_SECTORS);
    this.#header = {
      subformat: "streamOptimized",
      capacitySectors,
      redundantDirectorySector: 0n,
      directorySector: DIRECTORY_AT_END,
      overheadSectors: FIRST_GRAIN_SECTOR,
    };
  }

  /** Returns the bytes that were written. Throws `frame-corrupt`, or `vmdk-too-large` past 2 TiB of file. */
  async write(options: WriteOptions): Promise<number> {
    const head = Buffer.alloc(FIRST_GRAIN_SECTOR * SECTOR_BYTES);
    encodeHeader(this.#header).copy(head);
    encodeDescriptor(this.#disk, "streamOptimized", this.#header.capacitySectors).copy(head, SECTOR_BYTES);
    await this.#append([head]);
    await this.#writeGrains(options);
    await this.#flushTable();
    const directory = this.#tables.directory();
    await this.#append([marker(MARKER.grainDirectory, directory.length / SECTOR_BYTES)]);
    const directorySector = BigInt(this.#sector);
    const footer = encodeHeader({ ...this.#header, directorySector });
    await this.#append([directory, marker(MARKER.footer, 1), footer, marker(MARKER.endOfStream, 0)]);
    return this.#sector * SECTOR_BYTES;
  }

  /** Jobs overlap with reading and with writing; their results are written in the order of the disk. */
  async #writeGrains(options: WriteOptions): Promise<void> {
    const totalBytes = this.#disk.map.coveredClusters * CLUSTER_BYTES;
    const most = availableParallelism() * 2;
    const waiting: Job[] = [];
    let doneBytes = 0;
    const finishOne = async () => {
      const job = waiting.shift();
      if (!job) return;
      await this.#writeJob(job);
      doneBytes += job.clusters.length * CLUSTER_BYTES;
      options.onProgress?.({ doneBytes, totalBytes });
    };
    try {
      for await (const job of this.#jobs()) {
        options.signal?.throwIfAborted();
        waiting.push(job);
        while (waiting.length >= most) await finishOne();
      }
      while (waiting.length > 0) await finishOne();
    } finally {
      await Promise.allSettled(waiting.map(({ result }) => result));
    }
  }

  async *#jobs(): AsyncGenerator<Job> {
    for await (const chunk of frameChunks(this.#disk)) {
      const base = chunk.index.offsetOf(chunk.firstFrame);
      // Not pooled: jobs read it until they are done.
      const bytes = await readChunk(this.#disk, chunk, Buffer.allocUnsafeSlow(chunkBytes(chunk)));
      const pack = this.#disk.map.packs[chunk.pack]?.digest ?? "";
      const clusters = new Uint32Array(chunk.count);
      const table = new Uint32Array(chunk.count * 2);
      let at = 0;
      eachFrame(chunk, (frame, cluster, lengthBytes) => {
        clusters[at] = cluster;
        table[at * 2] = chunk.index.offsetOf(frame) - base;
        table[at * 2 + 1] = lengthBytes;
        at++;
      });
      for (let first = 0; first < chunk.count; first += FRAMES_A_JOB) {
        const end = Math.min(first + FRAMES_A_JOB, chunk.count);
        const result = deflateFrames(bytes, table.slice(first * 2, end * 2));
        // A failure is met when its turn comes.
        result.catch(() => {});
        yield { clusters: clusters.subarray(first, end), pack, result };
      }
    }
  }

  async #writeJob({ clusters, pack, result }: Job): Promise<void> {
    const { data, lengths } = await result.catch((cause: unknown) => {
      throw new DoppelError(
        "frame-corrupt",
        `clusters ${clusters[0]} to ${clusters.at(-1)} (pack ${pack}): ${cause instanceof Error ? cause.message : cause}`,
        { cause },
      );
    });
    let parts: Buffer[] = [];
    let at = 0;
    let sector = this.#sector;
    for (const [index, cluster] of clusters.entries()) {
      if (this.#tables.needsFlush(cluster)) {
        await this.#append(parts);
        await this.#flushTable();
        parts = [];
        sector = this.#sector;
      }
      const length = lengths[index] ?? 0;
      const grain = paddedGrain(cluster, data.subarray(at, at + length));
      at += length;
      this.#tables.add(cluster, sector);
      sector += grain.length / SECTOR_BYTES;
      parts.push(grain);
    }
    await this.#append(parts);
  }

  async #flushTable(): Promise<void> {
    const closed = this.#tables.flush(this.#sector + 1);
    if (closed) await this.#append([marker(MARKER.grainTable, TABLE_SECTORS), closed.bytes]);
  }

  async #append(parts: readonly Buffer[]): Promise<void> {
    if (parts.length === 0) return;
    const bytes = Buffer.concat(parts);
    const at = this.#startBytes + this.#sector * SECTOR_BYTES;
    this.#sector += bytes.length / SECTOR_BYTES;
    if (this.#sector > MOST_FILE_SECTORS) {
      throw new DoppelError("vmdk-too-large", "a VMDK stream cannot have more than 2 TiB", {
        hint: "export to qcow2 or raw",
      });
    }
    this.#onBytes?.(bytes);
    await this.#output.writeAt(bytes, at);
  }
}

/** A sector that says what follows: a number, no data, a type. */
function marker(type: number, sectors: number): Buffer {
  const bytes = Buffer.alloc(SECTOR_BYTES);
  bytes.writeBigUInt64LE(BigInt(sectors), 0);
  bytes.writeUInt32LE(type, 12);
  return bytes;
}

function paddedGrain(cluster: number, data: Buffer): Buffer {
  const grain = Buffer.alloc(Math.ceil((GRAIN_MARKER_BYTES + data.length) / SECTOR_BYTES) * SECTOR_BYTES);
  grain.writeBigUInt64LE(BigInt(cluster) * BigInt(GRAIN_SECTORS), 0);
  grain.writeUInt32LE(data.length, 8);
  data.copy(grain, GRAIN_MARKER_BYTES);
  return grain;
}
