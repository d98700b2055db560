import { MAX_JSON_BLOB_BYTES } from "../image/config.ts";
import { type AttachmentManifest, parseAttachmentManifest } from "../image/manifest.ts";
import type { BlobStore } from "./blobs.ts";
import type { Attachment } from "./catalog.ts";

export const CREATED = "org.opencontainers.image.created";

/** Reads the manifest of an attachment by its digest. */
export async function readAttachmentManifest(blobs: BlobStore, digest: string): Promise<AttachmentManifest> {
  return parseAttachmentManifest(await blobs.read(digest, MAX_JSON_BLOB_BYTES), digest);
}

/** The catalog's line of an attachment, out of its manifest. */
export function attachmentOf(
  manifest: AttachmentManifest,
  digest: string,
  manifestBytes: number,
): Attachment {
  const annotations = manifest.annotations ?? {};
  return {
    digest,
    subject: manifest.subject.digest,
    artifactType: manifest.artifactType,
    created: annotations[CREATED] ?? new Date(0).toISOString(),
    annotations,
    manifestBytes,
  };
}
