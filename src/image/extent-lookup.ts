import type { DiskMap, Extent } from "./disk-map.ts";
import { LruCache } from "./lru-cache.ts";

const BATCH = 256;
const KEPT_BATCHES = 128;

/**
 * Finds the extents of a range of clusters without reading the whole map: a binary search over batches of 256 extents,
 * of which the last 128 that were needed are kept.
 */
export class ExtentLookup {
  readonly #map: DiskMap;
  readonly #batches = new LruCache<number, Promise<Extent[]>>(KEPT_BATCHES);

  constructor(map: DiskMap) {
    this.#map = map;
  }

  /** The extents that overlap `count` clusters from `firstCluster` on, cut to that range, ascending. */
  async find(firstCluster: number, count: number): Promise<Extent[]> {
    const end = firstCluster + count;
    const found: Extent[] = [];
    const batches = Math.ceil(this.#map.extentCount / BATCH);
    for (let number = await this.#batchOf(firstCluster); number < batches; number++) {
      for (const extent of await this.#batch(number)) {
        if (extent.firstCluster >= end) return found;
        const cut = cutExtent(extent, firstCluster, end);
        if (cut) found.push(cut);
      }
    }
    return found;
  }

  /** The last batch whose first extent does not begin after `cluster`, or the first one. */
  async #batchOf(cluster: number): Promise<number> {
    let low = 0;
    let high = Math.ceil(this.#map.extentCount / BATCH) - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      const [first] = await this.#batch(middle);
      if (first && first.firstCluster <= cluster) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #batch(number: number): Promise<Extent[]> {
    const start = number * BATCH;
    return this.#batches.get(number, () =>
      this.#map.extentsAt(start, Math.min(BATCH, this.#map.extentCount - start)),
    );
  }
}

function cutExtent(extent: Extent, from: number, end: number): Extent | undefined {
  const first = Math.max(extent.firstCluster, from);
  const count = Math.min(extent.firstCluster + extent.count, end) - first;
  if (count <= 0) return undefined;
  const firstFrame = extent.firstFrame + first - extent.firstCluster;
  return { firstCluster: first, count, pack: extent.pack, firstFrame };
}
