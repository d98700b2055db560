/** What became of a cluster since the parent image: nothing, new content, zeros, zeros that are not stored. */
export const CHANGE = { none: 0, written: 1, zero: 2, hole: 3 } as const;
export type Change = (typeof CHANGE)[keyof typeof CHANGE];

const PAGE_CLUSTERS = 4096;

/** The state of every cluster of a disk: a byte a cluster, in pages of which only those with a change are there. */
export class ChangedClusters {
  readonly #pages = new Map<number, Uint8Array>();

  get(cluster: number): Change {
    const page = this.#pages.get(Math.floor(cluster / PAGE_CLUSTERS));
    return (page?.[cluster % PAGE_CLUSTERS] ?? CHANGE.none) as Change;
  }

  set(cluster: number, count: number, change: Change): void {
    for (let at = cluster; at < cluster + count; ) {
      const number = Math.floor(at / PAGE_CLUSTERS);
      const end = Math.min(cluster + count, (number + 1) * PAGE_CLUSTERS);
      this.#page(number).fill(change, at % PAGE_CLUSTERS, end - number * PAGE_CLUSTERS);
      at = end;
    }
  }

  /** Runs of clusters of one state, that of no change left out, ascending; at most 4,096 clusters long. */
  *runs(): Generator<{ firstCluster: number; count: number; change: Change }> {
    for (const number of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const page = this.#pages.get(number);
      if (page) yield* runsOf(page, number * PAGE_CLUSTERS);
    }
  }

  #page(number: number): Uint8Array {
    let page = this.#pages.get(number);
    if (!page) {
      page = new Uint8Array(PAGE_CLUSTERS);
      this.#pages.set(number, page);
    }
    return page;
  }
}

function* runsOf(page: Uint8Array, base: number) {
  let start = 0;
  for (let at = 1; at <= page.length; at++) {
    if (at < page.length && page[at] === page[start]) continue;
    const change = page[start] as Change;
    if (change !== CHANGE.none) yield { firstCluster: base + start, count: at - start, change };
    start = at;
  }
}
