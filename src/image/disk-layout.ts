import { CLUSTER_BYTES, clusterCount } from "./cluster.ts";
import type { DoppelConfig } from "./config.ts";
import type { DiskMap } from "./disk-map.ts";

type Disk = DoppelConfig["disks"][number];

/** What a part of a disk is, the more telling first: of a part that is several, one is shown. */
export const LAYERS = ["unreadable", "changed", "whole", "used", "zero"] as const;
export type Layer = (typeof LAYERS)[number];

export interface ByteRange {
  offsetBytes: number;
  lengthBytes: number;
}

export interface DiskLayout {
  sizeBytes: number;
  /** Bytes of each layer; a byte counts once for each that it is of. */
  bytes: Record<Layer, number>;
  /** One a cell, over the whole disk. */
  cells: Layer[];
  /** Where its data lies, `[offsetBytes, lengthBytes]`, ascending; all else is zeros. */
  dataRanges: [number, number][];
}

/**
 * A disk as a bar of cells, from its map and config alone. `whole`: data of a region of which no map could be read; `used`: any
 * other data; `changed`: against the parent.
 */
export async function diskLayout(map: DiskMap, disk: Disk, cellCount: number): Promise<DiskLayout> {
  const count = Math.max(1, Math.min(cellCount, clusterCount(map.diskBytes)));
  const bar = new Bar(map.diskBytes, count);
  const wholes = disk.regions.filter(({ method, reason }) => method === "whole" && reason !== undefined);
  const ranges: DiskLayout["dataRanges"] = [];
  for await (const range of dataRanges(map)) {
    ranges.push([range.offsetBytes, range.lengthBytes]);
    bar.add("used", range);
    for (const region of wholes) bar.add("whole", intersection(range, region));
  }
  for (const range of disk.changed ?? []) bar.add("changed", range);
  for (const { cluster } of disk.readErrors)
    bar.add("unreadable", { offsetBytes: cluster * CLUSTER_BYTES, lengthBytes: CLUSTER_BYTES });
  return { ...bar.layout(), dataRanges: ranges };
}

/** The ranges of a disk that hold data, ascending; what follows another in the map follows it here, joined. */
async function* dataRanges(map: DiskMap): AsyncGenerator<ByteRange, void> {
  let pending: ByteRange | undefined;
  for await (const batch of map.extents()) {
    for (const { firstCluster, count } of batch) {
      const offsetBytes = firstCluster * CLUSTER_BYTES;
      const lengthBytes = Math.min(count * CLUSTER_BYTES, map.diskBytes - offsetBytes);
      if (pending && pending.offsetBytes + pending.lengthBytes === offsetBytes) {
        pending.lengthBytes += lengthBytes;
        continue;
      }
      if (pending) yield pending;
      pending = { offsetBytes, lengthBytes };
    }
  }
  if (pending) yield pending;
}

/** Adds ranges up: in all, and which cells they touch. */
class Bar {
  readonly #sizeBytes: number;
  readonly #cellBytes: number;
  /** A bit a layer. */
  readonly #touched: Uint8Array;
  readonly #bytes: Record<Layer, number> = { unreadable: 0, changed: 0, whole: 0, used: 0, zero: 0 };

  constructor(sizeBytes: number, cellCount: number) {
    this.#sizeBytes = sizeBytes;
    this.#cellBytes = sizeBytes / cellCount;
    this.#touched = new Uint8Array(cellCount);
  }

  add(layer: Layer, range: ByteRange | undefined): void {
    if (!range || range.lengthBytes <= 0) return;
    this.#bytes[layer] += range.lengthBytes;
    const last = this.#touched.length - 1;
    const first = Math.min(last, Math.floor(range.offsetBytes / this.#cellBytes));
    const end = Math.min(last, Math.floor((range.offsetBytes + range.lengthBytes - 1) / this.#cellBytes));
    const bit = 1 << LAYERS.indexOf(layer);
    for (let cell = first; cell <= end; cell++) this.#touched[cell] = (this.#touched[cell] ?? 0) | bit;
  }

  layout(): Omit<DiskLayout, "dataRanges"> {
    const cells = Array.from(
      this.#touched,
      (bits) => LAYERS.find((_, index) => bits & (1 << index)) ?? ("zero" as const),
    );
    const bytes = { ...this.#bytes, zero: this.#sizeBytes - this.#bytes.used };
    return { sizeBytes: this.#sizeBytes, bytes, cells };
  }
}

function intersection(a: ByteRange, b: ByteRange): ByteRange | undefined {
  const offsetBytes = Math.max(a.offsetBytes, b.offsetBytes);
  const lengthBytes = Math.min(a.offsetBytes + a.lengthBytes, b.offsetBytes + b.lengthBytes) - offsetBytes;
  return lengthBytes > 0 ? { offsetBytes, lengthBytes } : undefined;
}
