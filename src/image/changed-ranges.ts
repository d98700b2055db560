import { CLUSTER_BYTES } from "./cluster.ts";

export interface ByteRange {
  offsetBytes: number;
  lengthBytes: number;
}

/** A config stays small: of more ranges, those that are nearest to each other are joined. */
const MOST_RANGES = 16_384;

/** Collects runs of clusters that changed, ascending, as ranges of bytes of a disk. */
export class ChangedRanges {
  readonly #diskBytes: number;
  readonly #most: number;
  #ranges: ByteRange[] = [];
  /** Ranges that are no further apart than this become one. */
  #gapBytes = 0;

  constructor(diskBytes: number, most = MOST_RANGES) {
    this.#diskBytes = diskBytes;
    this.#most = most;
  }

  get ranges(): ByteRange[] {
    return this.#ranges;
  }

  add(firstCluster: number, count: number): void {
    const offsetBytes = firstCluster * CLUSTER_BYTES;
    const endBytes = Math.min((firstCluster + count) * CLUSTER_BYTES, this.#diskBytes);
    // What lies behind the end of a disk that became smaller is not on it.
    if (endBytes <= offsetBytes) return;
    append(this.#ranges, { offsetBytes, lengthBytes: endBytes - offsetBytes }, this.#gapBytes);
    while (this.#ranges.length > this.#most) this.#coarsen();
  }

  #coarsen(): void {
    this.#gapBytes = Math.max(this.#gapBytes * 2, CLUSTER_BYTES);
    const joined: ByteRange[] = [];
    for (const range of this.#ranges) append(joined, range, this.#gapBytes);
    this.#ranges = joined;
  }
}

function append(ranges: ByteRange[], next: ByteRange, gapBytes: number): void {
  const last = ranges.at(-1);
  if (last && next.offsetBytes - (last.offsetBytes + last.lengthBytes) <= gapBytes)
    last.lengthBytes = next.offsetBytes + next.lengthBytes - last.offsetBytes;
  else ranges.push({ ...next });
}
