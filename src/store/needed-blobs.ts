import { MAX_JSON_BLOB_BYTES } from "../image/config.ts";
import { type Descriptor, parseManifest } from "../image/manifest.ts";
import { readAttachmentManifest } from "./attachment-manifest.ts";
import type { ImageStore } from "./image-store.ts";

/**
 * The blobs that the catalog's images, and what is attached to them, need. Manifests never change, so what was read once is
 * known; `update` reads those that came since.
 */
export class NeededBlobs {
  readonly #store: ImageStore;
  readonly #without: ReadonlySet<string>;
  readonly #read = new Set<string>();
  readonly #blobs = new Set<string>();

  /** `without`: images that are looked at as if they were gone. */
  constructor(store: ImageStore, without: ReadonlySet<string> = new Set()) {
    this.#store = store;
    this.#without = without;
  }

  has(hex: string): boolean {
    return this.#blobs.has(hex);
  }

  /** Whether all manifests of the catalog have been read; for inside a transaction. */
  isCurrent(): boolean {
    return this.#unread().length === 0;
  }

  /** Reads the manifests that have come. Fails when one cannot be read: what it needs is not known, then. */
  async update(): Promise<void> {
    for (const { digest, isImage } of this.#unread()) {
      try {
        this.#add(digest, isImage ? await this.#imageBlobs(digest) : await this.#attachmentBlobs(digest));
      } catch (error) {
        // It may have been removed since it was listed.
        if (this.#unread().some((entry) => entry.digest === digest)) throw error;
      }
    }
  }

  #unread(): { digest: string; isImage: boolean }[] {
    const { catalog } = this.#store;
    const images = catalog.digests().filter((digest) => !this.#without.has(digest));
    const attachments = catalog.attachmentDigests().filter(({ subject }) => !this.#without.has(subject));
    return [
      ...images.map((digest) => ({ digest, isImage: true })),
      ...attachments.map(({ digest }) => ({ digest, isImage: false })),
    ].filter(({ digest }) => !this.#read.has(digest));
  }

  async #imageBlobs(digest: string): Promise<Descriptor[]> {
    const { config, layers } = parseManifest(
      await this.#store.blobs.read(digest, MAX_JSON_BLOB_BYTES),
      digest,
    );
    return [config, ...layers];
  }

  async #attachmentBlobs(digest: string): Promise<Descriptor[]> {
    const { config, layers } = await readAttachmentManifest(this.#store.blobs, digest);
    return [config, ...layers];
  }

  #add(digest: string, blobs: readonly Descriptor[]): void {
    for (const needed of [digest, ...blobs.map((blob) => blob.digest)])
      this.#blobs.add(needed.slice("sha256:".length));
    this.#read.add(digest);
  }
}
