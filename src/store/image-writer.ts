import { CLUSTER_BYTES } from "../image/cluster.ts";
import type { DiskMap, MapPack } from "../image/disk-map.ts";
import { type Descriptor, MEDIA_TYPES } from "../image/manifest.ts";
import { DiskWriter } from "./disk-writer.ts";
import { MapWriter, type Run } from "./map-writer.ts";
import { PackNumbers } from "./pack-numbers.ts";
import { type BlobSink, PackWriter, packSizeFor } from "./pack-writer.ts";

export interface WrittenImage {
  maps: Descriptor[];
  /** Every pack that a map uses, in the order of first use. */
  packs: readonly MapPack[];
  /** Per disk: bytes of the clusters that hold data. */
  dataBytes: number[];
}

/**
 * Turns the stream of frames of one or several disks into packs and disk maps; what did not change since an earlier map of
 * a disk stays in the packs that it is in. Memory does not grow with the disks.
 */
export class ImageWriter implements AsyncDisposable {
  readonly #createBlob: () => Promise<BlobSink>;
  readonly #packs: PackWriter;
  readonly #numbers = new PackNumbers();
  readonly #disks: DiskWriter[] = [];
  #finished = false;

  constructor(createBlob: () => Promise<BlobSink>, usedBytes: number) {
    this.#createBlob = createBlob;
    this.#packs = new PackWriter(createBlob, packSizeFor(usedBytes));
  }

  /** Bytes of all frames taken so far. */
  get storedBytes(): number {
    return this.#packs.storedBytes;
  }

  /** Starts the next disk; disks are numbered in the order of these calls. `base`: what `addSame` is the same as. */
  async beginDisk(diskBytes: number, base?: DiskMap): Promise<void> {
    const map = new MapWriter(await this.#createBlob(), diskBytes);
    this.#disks.push(new DiskWriter(map, base, this.#numbers));
  }

  /** Takes frames of the clusters of `runs`, which ascend within a disk; `table` has 20 bytes a frame. */
  async add(disk: number, runs: readonly Run[], table: Buffer, frames: Buffer): Promise<void> {
    const writer = this.#disk(disk);
    await writer.add(runs, await this.#packs.append(table, frames));
  }

  /** Takes runs of clusters that are as in the disk's base; the next `add` may have clusters among them. */
  async addSame(disk: number, runs: readonly Run[]): Promise<void> {
    await this.#disk(disk).addSame(runs);
  }

  /** Commits every blob: packs first, since the maps name them. */
  async finish(): Promise<WrittenImage> {
    const packOf = this.#numbers.withWritten(await this.#packs.finish());
    const maps: Descriptor[] = [];
    for (const disk of this.#disks) {
      const { digest, sizeBytes } = await disk.finish(packOf);
      maps.push({ mediaType: MEDIA_TYPES.diskMap, digest, size: sizeBytes });
    }
    this.#finished = true;
    const used = new Set(this.#disks.flatMap((disk) => disk.usedPacks));
    return {
      maps,
      packs: [...used].map(packOf).filter((pack) => pack !== undefined),
      dataBytes: this.#disks.map((disk) => disk.coveredClusters * CLUSTER_BYTES),
    };
  }

  /**
   * Commits what has come of a capture that ends early: a map of each disk that began, with what its base has behind that.
   */
  async finishEarly(): Promise<WrittenImage> {
    for (const disk of this.#disks) await disk.addRestOfBase();
    return await this.finish();
  }

  /** Drops what is not committed, unless `finish` has run. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#finished) return;
    await this.#packs.abort();
    for (const disk of this.#disks) await disk.abort();
  }

  #disk(disk: number): DiskWriter {
    const writer = this.#disks[disk];
    if (!writer) throw new RangeError(`disk ${disk} has not begun`);
    return writer;
  }
}
