import { MAX_JSON_BLOB_BYTES } from "../image/config.ts";
import { type Descriptor, parseManifest } from "../image/manifest.ts";
import { readAttachmentManifest } from "./attachment-manifest.ts";
import type { ImageStore } from "./image-store.ts";
import { blobsOfKeptMap, keptMaps } from "./kept-captures.ts";

type Kind = "image" | "attachment" | "map";

/**
 * The blobs that the catalog's images need, and what is attached to them, and what interrupted captures had received. Manifests
 * and maps never change, so what was read once is known; `update` reads those that came since.
 */
export class NeededBlobs {
  readonly #store: ImageStore;
  readonly #without: ReadonlySet<string>;
  readonly #keptCaptures: boolean;
  readonly #read = new Set<string>();
  readonly #blobs = new Set<string>();

  /** `images` are looked at as if they were gone, and all interrupted captures unless `keptCaptures`. */
  constructor(store: ImageStore, without: { images?: ReadonlySet<string>; keptCaptures?: boolean } = {}) {
    this.#store = store;
    this.#without = without.images ?? new Set();
    this.#keptCaptures = without.keptCaptures ?? true;
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
    for (const { digest, kind } of this.#unread()) {
      try {
        this.#add(digest, await this.#blobsOf(kind, digest));
      } catch (error) {
        // It may have been removed since it was listed.
        if (this.#unread().some((entry) => entry.digest === digest)) throw error;
      }
    }
  }

  #unread(): { digest: string; kind: Kind }[] {
    const { catalog } = this.#store;
    const images = catalog.digests().filter((digest) => !this.#without.has(digest));
    const attachments = catalog.attachmentDigests().filter(({ subject }) => !this.#without.has(subject));
    const maps = this.#keptCaptures ? keptMaps(catalog) : [];
    return [
      ...images.map((digest) => ({ digest, kind: "image" as const })),
      ...attachments.map(({ digest }) => ({ digest, kind: "attachment" as const })),
      ...maps.map((digest) => ({ digest, kind: "map" as const })),
    ].filter(({ digest }) => !this.#read.has(digest));
  }

  async #blobsOf(kind: Kind, digest: string): Promise<string[]> {
    if (kind === "map") return await blobsOfKeptMap(this.#store.blobs, digest);
    const found = kind === "image" ? this.#imageBlobs(digest) : this.#attachmentBlobs(digest);
    return (await found).map((blob) => blob.digest);
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

  #add(digest: string, blobs: readonly string[]): void {
    for (const needed of [digest, ...blobs]) this.#blobs.add(needed.slice("sha256:".length));
    this.#read.add(digest);
  }
}
