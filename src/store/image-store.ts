import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { makePrivateFolder } from "../durable-file.ts";
import { DoppelError, EXIT } from "../errors.ts";
import { type ImageConfig, MAX_JSON_BLOB_BYTES, parseImageConfig } from "../image/config.ts";
import { DiskMap, type MapPack } from "../image/disk-map.ts";
import { DiskReader } from "../image/disk-reader.ts";
import {
  buildManifest,
  type Descriptor,
  type Manifest,
  MEDIA_TYPES,
  parseAttachmentManifest,
  parseManifest,
} from "../image/manifest.ts";
import { formatReference, type Reference } from "../image/reference.ts";
import { attachmentOf, readAttachmentManifest } from "./attachment-manifest.ts";
import { BlobStore, type BlobWriter } from "./blobs.ts";
import { type Attachment, Catalog, type TaggedImage } from "./catalog.ts";
import { checkDiskMap } from "./check-map.ts";
import { summaryOf } from "./image-summary.ts";
import { ensureLayoutMarker, type IndexEntry, readLayoutIndex, type UnnamedEntry } from "./layout-index.ts";
import { agreesWithLayout, writeLayout } from "./layout-sync.ts";
import { type Lease, Leases } from "./leases.ts";

export interface StoredImage {
  digest: string;
  manifest: Manifest;
  manifestBytes: number;
  config: ImageConfig;
}

/** Names that are taken from an image, and how many it has left. */
export interface Removal {
  digest: string;
  names: { name: string; tag: string }[];
  left: number;
}

export interface NewImage {
  config: ImageConfig;
  maps: readonly Descriptor[];
  /** The blob that the config names. */
  firmwareVariables?: Descriptor | undefined;
  packs: readonly MapPack[];
}

/** $DOPPEL_HOME, else $XDG_DATA_HOME/doppel, else ~/.local/share/doppel. */
export function defaultHome(): string {
  const { DOPPEL_HOME, XDG_DATA_HOME } = process.env;
  if (DOPPEL_HOME) return DOPPEL_HOME;
  return join(XDG_DATA_HOME || join(homedir(), ".local", "share"), "doppel");
}

/** The images on this machine: an OCI image layout and its catalog. docs/store.md. */
export class ImageStore implements AsyncDisposable {
  readonly home: string;
  readonly layout: string;
  readonly blobs: BlobStore;
  readonly catalog: Catalog;
  readonly #leases: Leases;

  private constructor(home: string, layout: string, blobs: BlobStore, catalog: Catalog, leases: Leases) {
    this.home = home;
    this.layout = layout;
    this.blobs = blobs;
    this.catalog = catalog;
    this.#leases = leases;
  }

  /**
   * Opens the store under `home`, making it when it is not there; a lost catalog is made again from the layout, an index.json
   * that a crash left behind from the catalog.
   */
  static async open(home: string = defaultHome()): Promise<ImageStore> {
    const layout = join(home, "store");
    await makePrivateFolder(layout);
    await ensureLayoutMarker(layout);
    const catalog = Catalog.open(home);
    const leases = new Leases(catalog.database);
    const blobs = await BlobStore.open(layout, () => leases.work());
    const store = new ImageStore(home, layout, blobs, catalog, leases);
    await store.#settle();
    return store;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#leases.close();
    this.catalog.close();
  }

  createBlob(): Promise<BlobWriter> {
    return this.blobs.create();
  }

  /**
   * Claims a name for an image that this process is about to make; `name-busy` when another one has it, `channel-protected`
   * when it is a channel.
   */
  reserveName({ name, tag }: Reference): Lease {
    this.catalog.channels.refuse({ name, tag });
    return this.reserve("image", formatReference({ name, tag }));
  }

  /**
   * From now on until this store is closed no blob is unlinked that lies in its place now. Whoever makes or looks for a blob
   * does it without asking; this is for who reads images that may be removed meanwhile.
   */
  work(): void {
    this.#leases.work();
  }

  /** Claims something for this process alone; `name-busy` when another one has it. */
  reserve(kind: string, key: string): Lease {
    return this.#leases.claim(kind, key);
  }

  /**
   * Seals an image: checks that every blob is here with its size, writes config and manifest, then tags it. The image
   * exists once this returns, and not before.
   */
  async commitImage(reference: Reference, image: NewImage): Promise<StoredImage> {
    const stored = await this.writeImage(image);
    this.change(() => this.record(stored, reference));
    return stored;
  }

  /** Writes config and manifest of an image whose blobs are all here; it exists when it is recorded. */
  async writeImage(image: NewImage): Promise<StoredImage> {
    const config = Buffer.from(JSON.stringify(image.config));
    const configBlob = await this.blobs.put(config);
    const descriptor = {
      mediaType: MEDIA_TYPES.config,
      digest: configBlob.digest,
      size: configBlob.sizeBytes,
    };
    const { maps, firmwareVariables: variables, packs } = image;
    const manifest = buildManifest(descriptor, variables ? [...maps, variables] : maps, packs);
    for (const layer of manifest.layers) await this.#requireBlob(layer);
    const { digest, sizeBytes } = await this.blobs.put(Buffer.from(JSON.stringify(manifest)));
    return { digest, manifest, manifestBytes: sizeBytes, config: image.config };
  }

  /**
   * Takes up an image whose blobs came from elsewhere: checks that they are all here and that manifest, config and maps
   * agree, then tags it. Throws `blob-missing`, `manifest-corrupt`, `config-corrupt` or `map-corrupt`.
   */
  async adoptImage(reference: Reference, digest: string): Promise<StoredImage> {
    const stored = await this.load(digest);
    const { manifest, config } = stored;
    const layers = new Set(manifest.layers.map((layer) => layer.digest));
    for (const layer of manifest.layers) await this.#requireBlob(layer);
    for (const disk of config.doppel.disks) {
      if (!layers.has(disk.map))
        throw new DoppelError(
          "config-corrupt",
          `the map of disk ${disk.name} is no layer of the image ${digest}`,
        );
      await checkDiskMap(this.blobs, manifest, disk);
    }
    const variables = config.doppel.firmwareVariables;
    if (variables !== undefined && !layers.has(variables))
      throw new DoppelError("config-corrupt", `its firmware variables are no layer of the image ${digest}`);
    this.change(() => this.record(stored, reference));
    return stored;
  }

  /**
   * Finds an image and keeps it and all of its blobs until this store is closed, whoever removes it meanwhile. `image-unknown`
   * names what is there instead.
   */
  async resolve(reference: Reference): Promise<StoredImage> {
    return await this.load(this.claim(reference));
  }

  /** As `resolve`, for who can do without what the image's blobs say: they may be damaged. */
  claim(reference: Reference): string {
    const digest = this.#leases.use(() => this.#digestOf(reference));
    if (digest === undefined) throw this.#unknown(reference);
    return digest;
  }

  /** The digest of an image, for who needs no more; it may be removed at any time. `image-unknown` as `resolve`. */
  find(reference: Reference): string {
    const digest = this.#digestOf(reference);
    if (digest === undefined) throw this.#unknown(reference);
    return digest;
  }

  /** Reads the manifest and config of an image by its digest. */
  async load(digest: string): Promise<StoredImage> {
    const manifestBlob = await this.blobs.read(digest, MAX_JSON_BLOB_BYTES);
    const manifest = parseManifest(manifestBlob, digest);
    const config = parseImageConfig(
      await this.blobs.read(manifest.config.digest, MAX_JSON_BLOB_BYTES),
      digest,
    );
    return { digest, manifest, manifestBytes: manifestBlob.length, config };
  }

  /** Reads the manifest of an image alone. */
  async loadManifest(digest: string): Promise<Manifest> {
    return parseManifest(await this.blobs.read(digest, MAX_JSON_BLOB_BYTES), digest);
  }

  list(): TaggedImage[] {
    return this.catalog.list();
  }

  /** Opens disk `index` of an image for reading. */
  async openDisk(image: StoredImage, index: number): Promise<DiskReader> {
    const disk = image.config.doppel.disks[index];
    if (!disk) {
      throw new DoppelError(
        "disk-unknown",
        `the image has ${image.config.doppel.disks.length} disks, no disk ${index}`,
        {
          exitCode: EXIT.usage,
        },
      );
    }
    const mapBlob = await this.blobs.openBlob(disk.map);
    try {
      return new DiskReader(
        await DiskMap.open(mapBlob, disk.map),
        (digest) => this.blobs.openBlob(digest),
        mapBlob,
      );
    } catch (error) {
      await mapBlob[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Records what was attached to an image, in place of others; src/store/attachments.ts writes it. `image-unknown` when the
   * image is gone.
   */
  addAttachment(attachment: Attachment, replaced: readonly string[] = []): void {
    this.change(() => {
      for (const one of replaced) this.catalog.removeAttachment(one);
      this.recordAttachment(attachment);
    });
  }

  /** The same inside `change`. */
  recordAttachment(attachment: Attachment): void {
    const { digest, subject } = attachment;
    if (!this.catalog.has(subject))
      throw new DoppelError("image-unknown", `the image ${subject} was removed meanwhile`);
    this.#requireNow([digest]);
    const manifest = readFileSync(this.blobs.pathOf(digest));
    const { config, layers } = parseAttachmentManifest(manifest, digest);
    this.#requireNow([config.digest, ...layers.map((layer) => layer.digest)]);
    this.catalog.addAttachment(attachment);
  }

  /**
   * Names an image that is here; returns the digest that had the name before. `image-unknown` when it is gone,
   * `channel-protected` for a channel.
   */
  tag({ name, tag }: Reference, digest: string): string | undefined {
    return this.change(() => {
      if (!this.catalog.has(digest)) throw new DoppelError("image-unknown", `there is no image ${digest}`);
      this.catalog.channels.refuse({ name, tag });
      const before = this.catalog.digestOf(name, tag);
      this.catalog.setTag(name, tag, digest);
      return before;
    });
  }

  /** What `untag` would take away. `image-unknown` when there is no such image. */
  removalOf(reference: Reference): Removal {
    const digest = this.find(reference);
    const tags = this.catalog.tagsOf(digest);
    const isMeant = ({ name, tag }: { name: string; tag: string }) =>
      name === reference.name && (reference.digest !== undefined || tag === reference.tag);
    const names = tags.filter(isMeant);
    return { digest, names, left: tags.length - names.length };
  }

  /**
   * Takes a tag away, or with a digest all tags of that name that the image has; its blobs stay until `collectGarbage`
   * (src/store/gc.ts). `allow` is asked first, and throws when it must not be; `channel-protected` for a channel.
   */
  untag(reference: Reference, allow: (removal: Removal) => void = () => {}): Removal {
    return this.change(() => {
      const removal = this.removalOf(reference);
      allow(removal);
      for (const { name, tag } of removal.names) {
        this.catalog.channels.refuse({ name, tag });
        this.catalog.removeTag(name, tag);
      }
      return removal;
    });
  }

  /** Changes the catalog and index.json together: both, or neither. Nothing else writes to them meanwhile. */
  change<T>(change: () => T): T {
    return this.catalog.transaction(() => {
      const result = change();
      writeLayout(this.catalog, this.layout);
      return result;
    });
  }

  /** Records a sealed image, inside `change`: all of its blobs lie in their places from here on. */
  record({ digest, manifest, ...image }: StoredImage, { name, tag }: Partial<Reference> = {}): void {
    this.#requireNow([digest, manifest.config.digest, ...manifest.layers.map((layer) => layer.digest)]);
    if (name !== undefined && tag !== undefined) this.catalog.channels.refuse({ name, tag });
    const summary = summaryOf({ digest, manifest, ...image });
    const parent = summary.parent === null ? null : this.catalog.currentDigest(summary.parent);
    this.catalog.add({ ...summary, parent }, name, tag);
  }

  async #requireBlob(layer: Descriptor): Promise<void> {
    const size = await this.blobs.size(layer.digest);
    if (size === layer.size) return;
    const found = size === undefined ? "is not in the store" : `has ${size} bytes, not ${layer.size}`;
    throw new DoppelError("blob-missing", `blob ${layer.digest} ${found}: the image is not sealed`);
  }

  /** Inside a transaction: what an image names must lie in its place when the transaction ends. */
  #requireNow(digests: readonly string[]): void {
    let restored = false;
    for (const digest of digests) {
      if (this.blobs.sizeNow(digest) !== undefined) continue;
      if (!this.blobs.restore(digest))
        throw new DoppelError("blob-missing", `blob ${digest} is not in the store: the image is not sealed`);
      restored = true;
    }
    if (restored) this.blobs.quarantine.sync();
  }

  #digestOf(reference: Reference): string | undefined {
    const { name, tag, digest } = reference;
    const found =
      digest === undefined ? this.catalog.digestOf(name, tag) : this.catalog.currentDigest(digest);
    return found !== undefined && this.catalog.has(found) ? found : undefined;
  }

  async #settle(): Promise<void> {
    if (agreesWithLayout(this.catalog, this.layout)) return;
    if (this.catalog.isEmpty()) await this.#recoverCatalog();
    this.catalog.transaction(() => {
      if (!agreesWithLayout(this.catalog, this.layout)) writeLayout(this.catalog, this.layout);
    });
  }

  async #recoverCatalog(): Promise<void> {
    const { images, unnamed, referrers, channels } = await readLayoutIndex(this.layout);
    const replaced: { digest: string; replaces: string }[] = [];
    const entries: (UnnamedEntry & Partial<IndexEntry>)[] = [...unnamed, ...images];
    for (const entry of entries) {
      const image = await this.load(entry.digest);
      this.catalog.transaction(() => this.catalog.add(summaryOf(image), entry.name, entry.tag));
      const { replaces } = image.config.doppel.lineage;
      if (replaces !== undefined) replaced.push({ digest: entry.digest, replaces });
    }
    for (const { digest, replaces } of replaced) this.catalog.replace(replaces, digest);
    for (const { digest, sizeBytes } of referrers) {
      const attachment = attachmentOf(await readAttachmentManifest(this.blobs, digest), digest, sizeBytes);
      if (this.catalog.has(attachment.subject)) this.catalog.addAttachment(attachment);
    }
    if (channels !== undefined) this.catalog.transaction(() => this.catalog.channels.restore(channels));
  }

  #unknown(reference: Reference): DoppelError {
    const names = [...new Set(this.catalog.list().map(({ name, tag }) => `${name}:${tag}`))];
    const near = names.filter((name) => name.startsWith(reference.name.slice(0, 3))).slice(0, 3);
    const hint = near.length > 0 ? `there is ${near.join(", ")}` : "see 'doppel images ls'";
    return new DoppelError("image-unknown", `there is no image ${formatReference(reference)}`, { hint });
  }
}
