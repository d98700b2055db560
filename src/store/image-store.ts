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
  parseManifest,
} from "../image/manifest.ts";
import { formatReference, type Reference } from "../image/reference.ts";
import { attachmentOf, readAttachmentManifest } from "./attachment-manifest.ts";
import { BlobStore, type BlobWriter } from "./blobs.ts";
import { type Attachment, Catalog, type ImageSummary, type TaggedImage } from "./catalog.ts";
import { checkDiskMap } from "./check-map.ts";
import { ensureLayoutMarker, type IndexEntry, readLayoutIndex, writeLayoutIndex } from "./layout-index.ts";
import { type Lease, takeLease } from "./leases.ts";

export interface StoredImage {
  digest: string;
  manifest: Manifest;
  manifestBytes: number;
  config: ImageConfig;
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

  private constructor(home: string, layout: string, blobs: BlobStore, catalog: Catalog) {
    this.home = home;
    this.layout = layout;
    this.blobs = blobs;
    this.catalog = catalog;
  }

  /** Opens the store under `home`, making it when it is not there; a lost catalog is made again from the layout. */
  static async open(home: string = defaultHome()): Promise<ImageStore> {
    const layout = join(home, "store");
    await makePrivateFolder(layout);
    await ensureLayoutMarker(layout);
    const blobs = await BlobStore.open(layout);
    const store = new ImageStore(home, layout, blobs, Catalog.open(home));
    await store.#recoverCatalog();
    return store;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.catalog.close();
  }

  createBlob(): Promise<BlobWriter> {
    return this.blobs.create();
  }

  /** Claims a name for an image that this process is about to make; `name-busy` when another one has it. */
  reserveName({ name, tag }: Reference): Lease {
    return this.reserve("image", formatReference({ name, tag }));
  }

  /** Claims something; while the claim lasts, blobs that are younger than it are not collected. */
  reserve(kind: string, key: string): Lease {
    return takeLease(this.catalog.database, kind, key);
  }

  /**
   * Seals an image: checks that every blob is here with its size, writes config and manifest, then tags it. The image
   * exists once this returns, and not before.
   */
  async commitImage(reference: Reference, image: NewImage): Promise<StoredImage> {
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
    const stored = { digest, manifest, manifestBytes: sizeBytes, config: image.config };
    this.#record(stored, reference);
    return stored;
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
    this.#record(stored, reference);
    return stored;
  }

  /** Finds an image; `image-unknown` names what is there instead. */
  async resolve(reference: Reference): Promise<StoredImage> {
    const digest = reference.digest ?? this.catalog.digestOf(reference.name, reference.tag);
    if (digest === undefined || !this.catalog.has(digest)) throw this.#unknown(reference);
    return await this.load(digest);
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

  /** Records what was attached to an image; src/store/attachments.ts writes it. */
  addAttachment(attachment: Attachment): void {
    this.catalog.transaction(() => {
      this.catalog.addAttachment(attachment);
      this.#writeIndex();
    });
  }

  /** Names an image that is here; returns the digest that had the name before. */
  tag({ name, tag }: Reference, digest: string): string | undefined {
    return this.catalog.transaction(() => {
      const before = this.catalog.digestOf(name, tag);
      this.catalog.setTag(name, tag, digest);
      this.#writeIndex();
      return before;
    });
  }

  /** Takes a tag away; the image's blobs stay until `collectGarbage` (src/store/gc.ts). */
  untag(reference: Reference): void {
    this.catalog.transaction(() => {
      if (this.catalog.digestOf(reference.name, reference.tag) === undefined) throw this.#unknown(reference);
      this.catalog.removeTag(reference.name, reference.tag);
      this.#writeIndex();
    });
  }

  /** Forgets an image that has no tag, and what is attached to it; blobs stay until `collectGarbage`. */
  removeImage(digest: string): void {
    this.catalog.transaction(() => {
      this.catalog.removeImage(digest);
      this.#writeIndex();
    });
  }

  #record(image: StoredImage, { name, tag }: Reference): void {
    this.catalog.transaction(() => {
      this.catalog.add(summaryOf(image), name, tag);
      this.#writeIndex();
    });
  }

  async #requireBlob(layer: Descriptor): Promise<void> {
    const size = await this.blobs.size(layer.digest);
    if (size === layer.size) return;
    const found = size === undefined ? "is not in the store" : `has ${size} bytes, not ${layer.size}`;
    throw new DoppelError("blob-missing", `blob ${layer.digest} ${found}: the image is not sealed`);
  }

  /** Inside a write transaction: makes index.json say what the catalog says. */
  #writeIndex(): void {
    const sizes = this.catalog.manifestSizes();
    const entries: IndexEntry[] = this.catalog.list().map(({ digest, name, tag }) => ({
      digest,
      name,
      tag,
      sizeBytes: sizes.get(digest) ?? 0,
    }));
    const referrers = this.catalog
      .attachments()
      .map(({ digest, manifestBytes, artifactType, annotations }) => ({
        digest,
        sizeBytes: manifestBytes,
        artifactType,
        annotations,
      }));
    writeLayoutIndex(this.layout, { images: entries, referrers });
  }

  async #recoverCatalog(): Promise<void> {
    if (!this.catalog.isEmpty()) return;
    const { images, referrers } = await readLayoutIndex(this.layout);
    for (const entry of images) {
      const image = await this.load(entry.digest);
      this.catalog.transaction(() => this.catalog.add(summaryOf(image), entry.name, entry.tag));
    }
    for (const { digest, sizeBytes } of referrers) {
      const attachment = attachmentOf(await readAttachmentManifest(this.blobs, digest), digest, sizeBytes);
      if (this.catalog.has(attachment.subject)) this.catalog.addAttachment(attachment);
    }
  }

  #unknown(reference: Reference): DoppelError {
    const names = [...new Set(this.catalog.list().map(({ name, tag }) => `${name}:${tag}`))];
    const near = names.filter((name) => name.startsWith(reference.name.slice(0, 3))).slice(0, 3);
    const hint = near.length > 0 ? `there is ${near.join(", ")}` : "see 'doppel images ls'";
    return new DoppelError("image-unknown", `there is no image ${formatReference(reference)}`, { hint });
  }
}

function summaryOf(image: StoredImage): ImageSummary & { manifestBytes: number } {
  const { doppel } = image.config;
  const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);
  return {
    digest: image.digest,
    created: image.config.created,
    host: doppel.host,
    os: osName(doppel.facts),
    grade: doppel.grade,
    disks: doppel.disks.length,
    diskBytes: sum(doppel.disks.map((disk) => disk.sizeBytes)),
    dataBytes: sum(doppel.disks.map((disk) => disk.dataBytes)),
    storedBytes: sum(image.manifest.layers.map((layer) => layer.size)) + image.manifest.config.size,
    readErrors: sum(doppel.disks.map((disk) => disk.readErrors.length)),
    parent: doppel.lineage.parent,
    manifestBytes: image.manifestBytes,
  };
}

/** The operating system's name out of the machine facts, for listings; `-` when they have none. */
function osName(facts: Record<string, unknown>): string {
  const os = facts.os;
  if (typeof os !== "object" || os === null || !("prettyName" in os)) return "-";
  return typeof os.prettyName === "string" ? os.prettyName : "-";
}
