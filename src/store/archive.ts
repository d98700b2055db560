import { createHash } from "node:crypto";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { extract, type Header, type Pack, pack } from "tar-stream";
import { DoppelError, wrapError } from "../errors.ts";
import { MAX_JSON_BLOB_BYTES } from "../image/config.ts";
import { type Descriptor, MEDIA_TYPES } from "../image/manifest.ts";
import { parseLocalReference, type Reference } from "../image/reference.ts";
import { printable } from "../printable.ts";
import { attachmentOf, readAttachmentManifest } from "./attachment-manifest.ts";
import type { ImageStore, StoredImage } from "./image-store.ts";
import { formatLayoutIndex, LAYOUT_MARKER, type LayoutIndex, parseLayoutIndex } from "./layout-index.ts";

export interface ArchiveProgress {
  doneBytes: number;
  totalBytes: number;
}

export interface SavedImage {
  reference: Reference;
  image: StoredImage;
}

export interface SaveReport {
  images: string[];
  blobs: number;
  bytes: number;
}

export interface LoadReport {
  images: { ref: string; digest: string }[];
  /** Blobs that were not here before. */
  newBlobs: number;
  newBytes: number;
  attachments: number;
}

const BLOB_NAME = /^blobs\/sha256\/([0-9a-f]{64})$/;

/**
 * Writes images with what is attached to them as one tar of an OCI image layout (image-layout.md): each blob once, the index
 * first, one pass, nothing held in memory. `write` takes the tar's bytes.
 */
export async function saveArchive(
  store: ImageStore,
  images: readonly SavedImage[],
  write: (tar: AsyncIterable<Buffer>) => Promise<void>,
  onProgress: (progress: ArchiveProgress) => void = () => {},
): Promise<SaveReport> {
  const contents = await collectContents(store, images);
  const totalBytes = [...contents.blobs.values()].reduce((sum, { size }) => sum + size, 0);
  const tar = pack();
  const fill = async () => {
    await addMember(tar, "oci-layout", Buffer.from(LAYOUT_MARKER));
    await addMember(tar, "index.json", Buffer.from(formatLayoutIndex(contents.index)));
    let doneBytes = 0;
    for (const { digest, size } of contents.blobs.values()) {
      await addBlob(tar, store, digest, size, (bytes) => {
        doneBytes += bytes;
        onProgress({ doneBytes, totalBytes });
      });
    }
    tar.finalize();
  };
  await Promise.all([
    write(tar as unknown as AsyncIterable<Buffer>),
    fill().catch((error: unknown) => {
      tar.destroy(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }),
  ]);
  return { images: images.map(({ image }) => image.digest), blobs: contents.blobs.size, bytes: totalBytes };
}

/** The same for every tar: whoever saves an image twice gets the same bytes. */
const MEMBER: Partial<Header> = { mode: 0o644, mtime: new Date(0), uid: 0, gid: 0, type: "file" };

async function addMember(tar: Pack, name: string, content: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    tar.entry({ ...MEMBER, name }, content, (error) => (error ? reject(error) : resolve()));
  });
}

async function addBlob(
  tar: Pack,
  store: ImageStore,
  digest: string,
  size: number,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const found = await store.blobs.size(digest);
  if (found !== size)
    throw new DoppelError("blob-missing", `blob ${digest} has ${found ?? "no"} bytes, not ${size}`);
  const entry = tar.entry({ ...MEMBER, name: `blobs/sha256/${digest.slice("sha256:".length)}`, size });
  const hash = createHash("sha256");
  for await (const piece of store.blobs.stream(digest) as AsyncIterable<Buffer>) {
    hash.update(piece);
    onBytes(piece.length);
    if (!entry.write(piece)) await once(entry, "drain");
  }
  entry.end(undefined);
  // What is damaged must not travel unseen.
  if (`sha256:${hash.digest("hex")}` === digest) return;
  throw new DoppelError("blob-differs", `blob ${digest} of the store does not match its digest`, {
    hint: "run 'doppel images verify' to see what that hurts",
  });
}

async function collectContents(
  store: ImageStore,
  images: readonly SavedImage[],
): Promise<{ blobs: Map<string, Descriptor>; index: LayoutIndex }> {
  const blobs = new Map<string, Descriptor>();
  const index: LayoutIndex = { images: [], unnamed: [], referrers: [] };
  const add = (...descriptors: Descriptor[]) => {
    for (const descriptor of descriptors) blobs.set(descriptor.digest, descriptor);
  };
  const manifestOf = (digest: string, size: number) => ({ mediaType: MEDIA_TYPES.manifest, digest, size });
  for (const { image, reference } of images) {
    const { digest, manifestBytes: sizeBytes, manifest } = image;
    index.images.push({ digest, sizeBytes, name: reference.name, tag: reference.tag });
    if (blobs.has(digest)) continue;
    add(manifestOf(digest, sizeBytes), manifest.config, ...manifest.layers);
    for (const attachment of store.catalog.attachments(digest)) {
      const { artifactType, annotations, manifestBytes } = attachment;
      index.referrers.push({
        digest: attachment.digest,
        sizeBytes: manifestBytes,
        artifactType,
        annotations,
      });
      const { config, layers } = await readAttachmentManifest(store.blobs, attachment.digest);
      add(manifestOf(attachment.digest, manifestBytes), config, ...layers);
    }
  }
  return { blobs, index };
}

/**
 * Takes up the images of a tar of an OCI image layout. Every blob is hashed and must be what its name says; an image gets its
 * name when all of it is here. Throws `archive-invalid` for what is no such tar; what was read until then is garbage.
 */
export async function loadArchive(
  store: ImageStore,
  tar: Readable,
  onBytes: (bytes: number) => void = () => {},
): Promise<LoadReport> {
  const load = new Load(store, onBytes);
  const members = extract();
  const flow = new TarFlow();
  const reading = pipeline(flow.received(tar), members);
  reading.catch(() => {});
  try {
    for await (const member of members) {
      const content = flow.taken(member as unknown as AsyncIterable<Buffer>);
      await load.take(member.header, content);
      for await (const _rest of content);
    }
    await reading;
  } catch (error) {
    throw wrapError(error, "archive-invalid", "the archive cannot be read to its end");
  }
  return await load.adopt();
}

/** Between two members a tar has headers of some kilobytes, and in the end blocks of zeros. */
const MOST_BYTES_BETWEEN = 16 * 1024 * 1024;

/** Bounds what the reader of a tar gathers before it gives out a member: extended headers come with any length. */
class TarFlow {
  #receivedBytes = 0;
  #takenBytes = 0;

  async *received(tar: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
    for await (const piece of tar) {
      this.#receivedBytes += piece.length;
      if (this.#receivedBytes - this.#takenBytes > MOST_BYTES_BETWEEN + piece.length)
        throw invalid(`more than ${MOST_BYTES_BETWEEN} bytes of it belong to no member`);
      yield piece;
    }
  }

  async *taken(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
    for await (const piece of content) {
      this.#takenBytes += piece.length;
      yield piece;
    }
    // All that came before belongs to this member or one before it.
    this.#takenBytes = this.#receivedBytes;
  }
}

class Load {
  readonly #store: ImageStore;
  readonly #onBytes: (bytes: number) => void;
  readonly #report: LoadReport = { images: [], newBlobs: 0, newBytes: 0, attachments: 0 };
  #index: LayoutIndex | undefined;

  constructor(store: ImageStore, onBytes: (bytes: number) => void) {
    this.#store = store;
    this.#onBytes = onBytes;
  }

  async take({ name, type, size = 0 }: Header, content: AsyncIterable<Buffer>): Promise<void> {
    const path = name.replace(/^\.\//, "");
    if (type === "directory") return;
    const hex = BLOB_NAME.exec(path)?.[1];
    if (type !== "file" || path.startsWith("/") || path.split("/").includes(".."))
      throw invalid(`'${printable(name)}' does not belong into an image layout`);
    if (hex !== undefined) await this.#takeBlob(`sha256:${hex}`, content);
    else if (path === "index.json")
      this.#index = parseLayoutIndex(await readSmall(content, size), "index.json of the archive");
  }

  async adopt(): Promise<LoadReport> {
    if (!this.#index || this.#index.images.length === 0) throw invalid("it names no image");
    const { images, referrers } = this.#index;
    const references = images.map(({ name, tag }) => parseLocalReference(`${name}:${tag}`));
    for (const reference of references) this.#store.catalog.channels.refuse(reference);
    for (const [number, { digest, name, tag }] of images.entries()) {
      const reference = references[number] ?? { name, tag };
      await this.#store.adoptImage(reference, digest);
      this.#report.images.push({ ref: `${name}:${tag}`, digest });
    }
    for (const { digest } of referrers) await this.#adoptAttachment(digest);
    return this.#report;
  }

  async #adoptAttachment(digest: string): Promise<void> {
    const manifest = await readAttachmentManifest(this.#store.blobs, digest);
    const size = await this.#store.blobs.size(digest);
    if (!this.#store.catalog.has(manifest.subject.digest)) return;
    this.#store.addAttachment(attachmentOf(manifest, digest, size ?? 0));
    this.#report.attachments++;
  }

  async #takeBlob(digest: string, content: AsyncIterable<Buffer>): Promise<void> {
    if ((await this.#store.blobs.size(digest)) !== undefined) return await this.#skip(content);
    await using writer = await this.#store.blobs.create();
    for await (const piece of content) {
      await writer.append(piece);
      this.#onBytes(piece.length);
    }
    const { sizeBytes } = await writer.commit(digest);
    this.#report.newBlobs++;
    this.#report.newBytes += sizeBytes;
  }

  async #skip(content: AsyncIterable<Buffer>): Promise<void> {
    for await (const piece of content) this.#onBytes(piece.length);
  }
}

async function readSmall(content: AsyncIterable<Buffer>, size: number): Promise<Buffer> {
  if (size > MAX_JSON_BLOB_BYTES)
    throw invalid(`its index has ${size} bytes, more than ${MAX_JSON_BLOB_BYTES}`);
  const pieces: Buffer[] = [];
  for await (const piece of content) pieces.push(piece);
  return Buffer.concat(pieces);
}

function invalid(why: string): DoppelError {
  return new DoppelError("archive-invalid", `the archive is no image layout: ${why}`, {
    hint: "'doppel load' reads what 'doppel save' writes",
  });
}
