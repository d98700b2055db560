import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MAX_JSON_BLOB_BYTES } from "../image/config.ts";
import { type AttachmentManifest, type Descriptor, MEDIA_TYPES } from "../image/manifest.ts";
import { CREATED, readAttachmentManifest } from "./attachment-manifest.ts";
import type { Attachment } from "./catalog.ts";
import type { ImageStore, StoredImage } from "./image-store.ts";

/** A file that is attached. */
export interface AttachedFile {
  title: string;
  mediaType: string;
  content: Buffer;
  /** Of its descriptor, besides the title. */
  annotations?: Record<string, string>;
}

export interface NewAttachment {
  artifactType: string;
  created: string;
  /** Short facts, which can be listed without reading a blob. */
  annotations: Record<string, string>;
  files: readonly AttachedFile[];
  /** Digests of attachments of that image that this one stands in place of. */
  replaces?: readonly string[];
}

const TITLE = "org.opencontainers.image.title";
const SAFE_TITLE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$/;

/** The config of a manifest that needs none (OCI image specification, manifest.md, "Guidance for an Empty Descriptor"). */
const EMPTY_CONFIG = Buffer.from("{}");

/**
 * Attaches files to an image: a manifest whose `subject` is the image's. The image itself, which is immutable, does not
 * change; what is attached goes when the image goes.
 */
export async function attach(
  store: ImageStore,
  image: StoredImage,
  attachment: NewAttachment,
): Promise<Attachment> {
  const layers: Descriptor[] = [];
  for (const { title, mediaType, content, annotations } of attachment.files) {
    const { digest, sizeBytes } = await store.blobs.put(content);
    layers.push({ mediaType, digest, size: sizeBytes, annotations: { [TITLE]: title, ...annotations } });
  }
  const config = await store.blobs.put(EMPTY_CONFIG);
  const annotations = { ...attachment.annotations, [CREATED]: attachment.created };
  const manifest: AttachmentManifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    artifactType: attachment.artifactType,
    config: { mediaType: MEDIA_TYPES.empty, digest: config.digest, size: config.sizeBytes },
    layers,
    subject: { mediaType: MEDIA_TYPES.manifest, digest: image.digest, size: image.manifestBytes },
    annotations,
  };
  const { digest, sizeBytes } = await store.blobs.put(Buffer.from(JSON.stringify(manifest)));
  const entry = {
    digest,
    subject: image.digest,
    artifactType: attachment.artifactType,
    created: attachment.created,
    annotations,
    manifestBytes: sizeBytes,
  };
  store.addAttachment(entry, attachment.replaces);
  return entry;
}

/** Where an attachment says which image it was made for, when that was compacted since. */
const MADE_FOR = "org.doppel.made-for";

/**
 * Writes attachments anew for an image that has the same disks as theirs. `recordAttachment` of the store makes them known.
 */
export async function moveAttachments(
  store: ImageStore,
  attachments: readonly Attachment[],
  image: StoredImage,
): Promise<Attachment[]> {
  const moved: Attachment[] = [];
  for (const attachment of attachments) {
    const manifest = await readAttachmentManifest(store.blobs, attachment.digest);
    const annotations = { [MADE_FOR]: attachment.subject, ...manifest.annotations };
    const subject = { ...manifest.subject, digest: image.digest, size: image.manifestBytes };
    const content = Buffer.from(JSON.stringify({ ...manifest, subject, annotations }));
    const { digest, sizeBytes } = await store.blobs.put(content);
    moved.push({ ...attachment, digest, subject: image.digest, annotations, manifestBytes: sizeBytes });
  }
  return moved;
}

/** Writes the files of an attachment to a folder, which is made; returns their paths. Refuses to replace a file. */
export async function saveAttachment(store: ImageStore, digest: string, folder: string): Promise<string[]> {
  const { layers } = await readAttachmentManifest(store.blobs, digest);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const paths: string[] = [];
  for (const [index, layer] of layers.entries()) {
    const title = layer.annotations?.[TITLE] ?? "";
    // A title comes from outside: it must not lead out of the folder.
    const path = join(folder, SAFE_TITLE.test(title) ? title : `file${index}`);
    await writeFile(path, await store.blobs.read(layer.digest, MAX_JSON_BLOB_BYTES), {
      flag: "wx",
      mode: 0o600,
    });
    paths.push(path);
  }
  return paths;
}
