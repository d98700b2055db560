import { DiskMapEncoder, type MapPack } from "../image/disk-map.ts";
import type { BlobSink, Placement } from "./pack-writer.ts";

export interface Run {
  firstCluster: number;
  count: number;
}

const FLUSH_BYTES = 65_536;

/**
 * Writes the disk map of one disk while its clusters come in, ascending. Packs are numbered over the whole image;
 * the map has a table of its own, of the packs that this disk uses.
 */
export class MapWriter {
  readonly #blob: BlobSink;
  readonly #encoder: DiskMapEncoder;
  readonly #localNumbers = new Map<number, number>();
  #buffered: Buffer[];
  #bufferedBytes = 0;

  constructor(blob: BlobSink, diskBytes: number) {
    this.#blob = blob;
    this.#encoder = new DiskMapEncoder(diskBytes);
    this.#buffered = [this.#encoder.header()];
  }

  /** Clusters that hold data. */
  get coveredClusters(): number {
    return this.#encoder.coveredClusters;
  }

  /** Numbers of the packs that the map uses. */
  get usedPacks(): number[] {
    return [...this.#localNumbers.keys()];
  }

  /** Records that the clusters of `runs`, in order, are the frames from `placement` on. */
  async add(runs: readonly Run[], placement: Placement): Promise<void> {
    const pack = this.#localNumber(placement.pack);
    let firstFrame = placement.firstFrame;
    for (const { firstCluster, count } of runs) {
      const bytes = this.#encoder.add({ firstCluster, count, pack, firstFrame });
      firstFrame += count;
      if (bytes) this.#buffered.push(bytes);
      this.#bufferedBytes += bytes?.length ?? 0;
    }
    if (this.#bufferedBytes >= FLUSH_BYTES) await this.#flush();
  }

  /** Writes the pack table and commits the blob; `packOf` knows the packs of the image by number. */
  async finish(
    packOf: (number: number) => MapPack | undefined,
  ): Promise<{ digest: string; sizeBytes: number }> {
    const used = this.usedPacks.map((number) => {
      const pack = packOf(number);
      if (!pack) throw new Error(`pack ${number} of a map was never written`);
      return pack;
    });
    this.#buffered.push(this.#encoder.finish(used));
    await this.#flush();
    return await this.#blob.commit();
  }

  async abort(): Promise<void> {
    await this.#blob.abort();
  }

  #localNumber(pack: number): number {
    const known = this.#localNumbers.get(pack);
    if (known !== undefined) return known;
    this.#localNumbers.set(pack, this.#localNumbers.size);
    return this.#localNumbers.size - 1;
  }

  async #flush(): Promise<void> {
    await this.#blob.append(Buffer.concat(this.#buffered));
    this.#buffered = [];
    this.#bufferedBytes = 0;
  }
}
