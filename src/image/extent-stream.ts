import type { DiskMap, Extent } from "./disk-map.ts";

/** The extents of a map one after another, cut where it is asked for. */
export class ExtentStream {
  readonly #batches: AsyncGenerator<Extent[]>;
  #waiting: Extent[] = [];

  constructor(map: DiskMap) {
    this.#batches = map.extents();
  }

  /** The next extent, or the part of it that lies before `cluster`; undefined when there is none before it. */
  async take(cluster: number): Promise<Extent | undefined> {
    const next = await this.#peek();
    if (!next || next.firstCluster >= cluster) return undefined;
    this.#waiting.shift();
    const before = Math.min(next.count, cluster - next.firstCluster);
    if (before < next.count) this.#waiting.unshift(tail(next, before));
    return { ...next, count: before };
  }

  /** Drops everything before `cluster`. */
  async skip(cluster: number): Promise<void> {
    while (await this.take(cluster));
  }

  async #peek(): Promise<Extent | undefined> {
    while (this.#waiting.length === 0) {
      const { value, done } = await this.#batches.next();
      if (done) return undefined;
      this.#waiting = value;
    }
    return this.#waiting[0];
  }
}

function tail(extent: Extent, skipped: number): Extent {
  return {
    firstCluster: extent.firstCluster + skipped,
    count: extent.count - skipped,
    pack: extent.pack,
    firstFrame: extent.firstFrame + skipped,
  };
}
