import type { Compressor } from "zstd-napi";
import { type ByteRange, ChangedRanges } from "../image/changed-ranges.ts";
import { CLUSTER_BYTES } from "../image/cluster.ts";
import type { ClusterReader } from "../image/cluster-reader.ts";
import type { DiskMap, MapPack } from "../image/disk-map.ts";
import { ExtentStream } from "../image/extent-stream.ts";
import { clusterHash, encodeFrame, frameCompressor } from "../image/frame.ts";
import { type Descriptor, MEDIA_TYPES } from "../image/manifest.ts";
import { FRAME_ENTRY_BYTES } from "../image/pack.ts";
import { MapWriter } from "./map-writer.ts";
import { type BlobSink, PackWriter, packSizeFor } from "./pack-writer.ts";

/** A cluster's new content, 65,536 bytes; undefined: it became zeros. */
export interface ClusterChange {
  cluster: number;
  content: Buffer | undefined;
}

export interface ChildDisk {
  map: Descriptor;
  /** Bytes of the clusters that hold data. */
  dataBytes: number;
  /** What differs from the parent, ascending. */
  changed: ByteRange[];
}

const FRAMES_A_BATCH = 64;
const ZEROS = Buffer.alloc(CLUSTER_BYTES);

/**
 * Writes the disks of a child image: the parent's extents, but for the clusters that changed, which go into new packs.
 * A cluster that has its old content again is no change. Memory does not grow with the disks.
 */
export class ChildWriter implements AsyncDisposable {
  readonly #createBlob: () => Promise<BlobSink>;
  readonly #packs: PackWriter;
  /** The parents' packs, numbered over the whole image; new ones are numbered after them. */
  readonly #parentPacks: MapPack[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #compressor: Compressor = frameCompressor();
  readonly #disks: { map: MapWriter; changed: ChangedRanges }[] = [];
  #finished = false;

  /** `parents`: the maps of all disks, in order. */
  constructor(createBlob: () => Promise<BlobSink>, parents: readonly DiskMap[]) {
    this.#createBlob = createBlob;
    for (const pack of parents.flatMap((map) => map.packs)) {
      if (this.#numbers.has(pack.digest)) continue;
      this.#numbers.set(pack.digest, this.#parentPacks.length);
      this.#parentPacks.push(pack);
    }
    const covered = parents.reduce((sum, map) => sum + map.coveredClusters, 0);
    this.#packs = new PackWriter(createBlob, packSizeFor(covered * CLUSTER_BYTES));
  }

  /** Writes the next disk; `changes` ascend. */
  async addDisk(
    parent: DiskMap,
    reader: ClusterReader,
    changes: AsyncIterable<ClusterChange>,
  ): Promise<void> {
    const map = new MapWriter(await this.#createBlob(), parent.diskBytes);
    const changed = new ChangedRanges(parent.diskBytes);
    this.#disks.push({ map, changed });
    const old = new ExtentStream(parent);
    const batch = new Batch();
    const flush = async () => {
      if (batch.count === 0) return;
      await this.#copyUntil(map, parent, old, batch.firstCluster);
      const placement = await this.#packs.append(batch.table(), batch.bytes());
      const pack = this.#parentPacks.length + placement.pack;
      await map.add([{ firstCluster: batch.firstCluster, count: batch.count }], { ...placement, pack });
      await old.skip(batch.firstCluster + batch.count);
      batch.clear();
    };
    for await (const { cluster, content } of changes) {
      const data = content && !content.equals(ZEROS) ? content : undefined;
      const hash = data && clusterHash(data);
      const before = await reader.hashOf(cluster);
      if (hash ? before?.equals(hash) : before === undefined) continue;
      changed.add(cluster, 1);
      if (!batch.takes(cluster)) await flush();
      if (data && hash) batch.add(cluster, encodeFrame(this.#compressor, data), hash);
      else {
        await flush();
        await this.#copyUntil(map, parent, old, cluster);
        await old.skip(cluster + 1);
      }
    }
    await flush();
    await this.#copyUntil(map, parent, old, Infinity);
  }

  /** Commits packs, then maps. `packs`: every one that a map of the child uses, perhaps more. */
  async finish(): Promise<{ disks: ChildDisk[]; packs: MapPack[] }> {
    const packs = [...this.#parentPacks, ...(await this.#packs.finish())];
    const disks: ChildDisk[] = [];
    for (const { map, changed } of this.#disks) {
      const { digest, sizeBytes } = await map.finish((number) => packs[number]);
      const dataBytes = map.coveredClusters * CLUSTER_BYTES;
      const descriptor = { mediaType: MEDIA_TYPES.diskMap, digest, size: sizeBytes };
      disks.push({ map: descriptor, dataBytes, changed: changed.ranges });
    }
    this.#finished = true;
    const used = new Set(this.#disks.flatMap(({ map }) => map.usedPacks));
    return { disks, packs: packs.filter((_, number) => used.has(number)) };
  }

  /** Drops what is not committed, unless `finish` has run. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#finished) return;
    await this.#packs.abort();
    for (const { map } of this.#disks) await map.abort();
  }

  async #copyUntil(map: MapWriter, parent: DiskMap, old: ExtentStream, cluster: number): Promise<void> {
    for (let part = await old.take(cluster); part; part = await old.take(cluster)) {
      const pack = this.#numbers.get(parent.packs[part.pack]?.digest ?? "") ?? 0;
      const { firstCluster, count, firstFrame } = part;
      await map.add([{ firstCluster, count }], { pack, firstFrame });
    }
  }
}

/** Frames of clusters that follow one another. */
class Batch {
  readonly #frames: Buffer[] = [];
  readonly #entries: Buffer[] = [];
  firstCluster = 0;

  get count(): number {
    return this.#frames.length;
  }

  takes(cluster: number): boolean {
    return this.count === 0 || (cluster === this.firstCluster + this.count && this.count < FRAMES_A_BATCH);
  }

  add(cluster: number, frame: Buffer, hash: Buffer): void {
    if (this.count === 0) this.firstCluster = cluster;
    const entry = Buffer.alloc(FRAME_ENTRY_BYTES);
    entry.writeUInt32LE(frame.length);
    hash.copy(entry, 4);
    this.#frames.push(frame);
    this.#entries.push(entry);
  }

  table(): Buffer {
    return Buffer.concat(this.#entries);
  }

  bytes(): Buffer {
    return Buffer.concat(this.#frames);
  }

  clear(): void {
    this.#frames.length = 0;
    this.#entries.length = 0;
  }
}
