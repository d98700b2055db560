import type { Extent } from "./disk-map.ts";
import type { DiskReader } from "./disk-reader.ts";
import { ExtentLookup } from "./extent-lookup.ts";
import { LruCache } from "./lru-cache.ts";

/** Decompressed clusters that are kept: 64 MiB. */
const KEPT_CLUSTERS = 1024;
/** Most frames of one read of a pack: neighbours are fetched together. */
const FRAMES_A_READ = 32;

/** Random access to a disk's clusters, decompressed on demand. */
export class ClusterReader {
  readonly diskBytes: number;
  readonly #disk: DiskReader;
  readonly #lookup: ExtentLookup;
  readonly #kept = new LruCache<number, Buffer>(KEPT_CLUSTERS);
  /** Reads go one after another: the open packs of a DiskReader are valid until the next is asked for. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(disk: DiskReader) {
    this.diskBytes = disk.diskBytes;
    this.#disk = disk;
    this.#lookup = new ExtentLookup(disk.map);
  }

  /** The extents of a range of clusters, cut to it; what none covers is zeros. */
  async extents(firstCluster: number, count: number): Promise<Extent[]> {
    return await this.#lookup.find(firstCluster, count);
  }

  /**
   * The clusters of a range, in order: 65,536 bytes each, undefined for one that is zeros. The buffers are shared with
   * the cache: not to be changed. Throws `frame-corrupt` or `pack-corrupt`.
   */
  async clusters(firstCluster: number, count: number): Promise<(Buffer | undefined)[]> {
    const found: (Buffer | undefined)[] = Array.from({ length: count });
    const missing: Extent[] = [];
    for (const extent of await this.extents(firstCluster, count)) {
      for (let i = 0; i < extent.count; i++) {
        const cluster = extent.firstCluster + i;
        const kept = this.#kept.peek(cluster);
        if (kept) found[cluster - firstCluster] = kept;
        else
          addMissing(missing, {
            firstCluster: cluster,
            count: 1,
            pack: extent.pack,
            firstFrame: extent.firstFrame + i,
          });
      }
    }
    for (const run of missing) {
      const clusters = await this.#exclusive(() => this.#fetch(run));
      for (const [index, cluster] of clusters.entries()) {
        found[run.firstCluster + index - firstCluster] = cluster;
        this.#kept.set(run.firstCluster + index, cluster);
      }
    }
    return found;
  }

  /** The hash of a cluster as its pack's index has it; undefined for one that is zeros. */
  async hashOf(cluster: number): Promise<Buffer | undefined> {
    const [extent] = await this.extents(cluster, 1);
    if (!extent) return undefined;
    return await this.#exclusive(async () => {
      const { index } = await this.#disk.pack(extent.pack);
      return Buffer.from(index.hashOf(extent.firstFrame));
    });
  }

  async #fetch({ firstCluster, count, pack, firstFrame }: Extent): Promise<Buffer[]> {
    const { index, source } = await this.#disk.pack(pack);
    const start = index.offsetOf(firstFrame);
    const bytes = Buffer.allocUnsafe(index.offsetOf(firstFrame + count) - start);
    await source.read(bytes, start);
    const clusters: Buffer[] = [];
    for (let frame = firstFrame; frame < firstFrame + count; frame++) {
      const at = index.offsetOf(frame) - start;
      const frameBytes = bytes.subarray(at, at + index.lengthOf(frame));
      clusters.push(this.#disk.decode(pack, index, frame, firstCluster + frame - firstFrame, frameBytes));
    }
    return clusters;
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work);
    this.#last = result.catch(() => {});
    return result;
  }
}

/** Joins a cluster to the last run when it continues it on the disk and in the pack. */
function addMissing(runs: Extent[], next: Extent): void {
  const last = runs.at(-1);
  const continues =
    last &&
    last.pack === next.pack &&
    last.count < FRAMES_A_READ &&
    last.firstCluster + last.count === next.firstCluster &&
    last.firstFrame + last.count === next.firstFrame;
  if (continues) last.count++;
  else runs.push(next);
}
