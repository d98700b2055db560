import { ClusterReader } from "../image/cluster-reader.ts";
import type { ConversionRecord, DoppelConfig } from "../image/config.ts";
import type { DiskReader } from "../image/disk-reader.ts";
import type { Reference } from "../image/reference.ts";
import { type SealedChild, sealChild } from "../store/child-image.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { DiskExport } from "./disk-export.ts";
import { ScratchFile } from "./scratch-file.ts";

/** All disks of an image, opened as NBD exports that are named as the disks are. */
export class ImageExports implements AsyncDisposable {
  readonly exports: DiskExport[] = [];
  readonly #store: ImageStore;
  readonly #image: StoredImage;
  readonly #disks: { disk: DiskReader; reader: ClusterReader }[] = [];
  readonly #scratches: ScratchFile[] = [];

  private constructor(store: ImageStore, image: StoredImage) {
    this.#store = store;
    this.#image = image;
  }

  /** Opens them; writable ones keep what is written in files without a name beside the store. */
  static async open(
    store: ImageStore,
    image: StoredImage,
    options: { writable: boolean },
  ): Promise<ImageExports> {
    const opened = new ImageExports(store, image);
    try {
      for (const [index, { name }] of image.config.doppel.disks.entries())
        await opened.#open(index, name, options.writable);
      return opened;
    } catch (error) {
      await opened[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Seals what was written as a child image and names it. The exports can still be read. */
  async seal(
    reference: Reference,
    kind: DoppelConfig["lineage"]["kind"],
    conversion?: ConversionRecord,
  ): Promise<SealedChild> {
    const disks = this.#disks.map(({ disk, reader }, index) => ({
      disk,
      reader,
      changes: () => this.#export(index).changes(),
    }));
    return await sealChild(this.#store, this.#image, reference, { kind, disks, conversion });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { disk } of this.#disks) await disk[Symbol.asyncDispose]();
    for (const scratch of this.#scratches) await scratch[Symbol.asyncDispose]();
  }

  async #open(index: number, name: string, writable: boolean): Promise<void> {
    const disk = await this.#store.openDisk(this.#image, index);
    const reader = new ClusterReader(disk);
    this.#disks.push({ disk, reader });
    if (!writable) this.exports.push(new DiskExport(name, reader));
    else {
      const scratch = await ScratchFile.create(this.#store.blobs.uploads);
      this.#scratches.push(scratch);
      this.exports.push(new DiskExport(name, reader, scratch));
    }
  }

  #export(index: number): DiskExport {
    const found = this.exports[index];
    if (!found) throw new RangeError(`the image has ${this.exports.length} disks, no disk ${index}`);
    return found;
  }
}
