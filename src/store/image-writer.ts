import { CLUSTER_BYTES } from "../image/cluster.ts";
import type { MapPack } from "../image/disk-map.ts";
import { type Descriptor, MEDIA_TYPES } from "../image/manifest.ts";
import { MapWriter, type Run } from "./map-writer.ts";
import { type BlobSink, PackWriter, packSizeFor } from "./pack-writer.ts";

export interface WrittenImage {
  maps: Descriptor[];
  packs: readonly MapPack[];
  /** Per disk: bytes of the clusters that hold data. */
  dataBytes: number[];
}

/** Turns the stream of frames of one or several disks into packs and disk maps. Memory does not grow with the disks. */
export class ImageWriter implements AsyncDisposable {
  readonly #createBlob: () => Promise<BlobSink>;
  readonly #packs: PackWriter;
  readonly #maps: MapWriter[] = [];
  #finished = false;

  constructor(createBlob: () => Promise<BlobSink>, usedBytes: number) {
    this.#createBlob = createBlob;
    this.#packs = new PackWriter(createBlob, packSizeFor(usedBytes));
  }

  /** Bytes of all frames taken so far. */
  get storedBytes(): number {
    return this.#packs.storedBytes;
  }

  /** Starts the next disk; disks are numbered in the order of these calls. */
  async beginDisk(diskBytes: number): Promise<void> {
    this.#maps.push(new MapWriter(await this.#createBlob(), diskBytes));
  }

  /** Takes frames of the clusters of `runs`, which ascend within a disk; `table` has 20 bytes a frame. */
  async add(disk: number, runs: readonly Run[], table: Buffer, frames: Buffer): Promise<void> {
    const map = this.#maps[disk];
    if (!map) throw new RangeError(`disk ${disk} has not begun`);
    await map.add(runs, await this.#packs.append(table, frames));
  }

  /** Commits every blob: packs first, since the maps name them. */
  async finish(): Promise<WrittenImage> {
    const packs = await this.#packs.finish();
    const maps: Descriptor[] = [];
    for (const map of this.#maps) {
      const { digest, sizeBytes } = await map.finish(packs);
      maps.push({ mediaType: MEDIA_TYPES.diskMap, digest, size: sizeBytes });
    }
    this.#finished = true;
    return { maps, packs, dataBytes: this.#maps.map((map) => map.coveredClusters * CLUSTER_BYTES) };
  }

  /** Drops what is not committed, unless `finish` has run. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#finished) return;
    await this.#packs.abort();
    for (const map of this.#maps) await map.abort();
  }
}
