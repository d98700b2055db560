import { DoppelError } from "../errors.ts";
import { type AttachmentManifest, MEDIA_TYPES, parseAttachmentManifest } from "../image/manifest.ts";
import { attachmentOf, readAttachmentManifest } from "../store/attachment-manifest.ts";
import type { ImageStore } from "../store/image-store.ts";
import { type FoundAttachment, readCosignTag } from "./cosign-tag.ts";
import { listReferrers, type Referrer } from "./referrers.ts";
import { type Repository, wrongContent } from "./repository.ts";

/**
 * Evidence, signatures and lists of contents are small; who may write to a repository may attach anything. All of an image's
 * attachments together, and one manifest.
 */
const MOST_ATTACHED_BYTES = 256 * 1024 * 1024;
const MOST_MANIFEST_BYTES = 256 * 1024;

/**
 * Reads the manifests of what is attached to an image there and not here. `left` has the digests of what is too large, or not in
 * a form that is understood. Throws `registry-content` for what is attached to another image.
 */
export async function findAttachments(
  repository: Repository,
  store: ImageStore,
  image: { digest: string; size: number },
): Promise<{ attachments: FoundAttachment[]; left: string[] }> {
  const here = new Set(store.catalog.attachments(image.digest).map(({ digest }) => digest));
  const found: FoundAttachment[] = [];
  const left: string[] = [];
  for (const referrer of await listReferrers(repository, image.digest)) {
    if (here.has(referrer.digest)) continue;
    const attachment = await readReferrer(repository, image.digest, referrer);
    if (attachment) found.push(attachment);
    else left.push(referrer.digest);
  }
  // The smallest first: what is large cannot crowd out signatures and revocations.
  found.sort((one, other) => bytesOf(one.manifest) - bytesOf(other.manifest));
  let attachedBytes = 0;
  const attachments = found.filter(({ digest, manifest }) => {
    attachedBytes += bytesOf(manifest);
    if (attachedBytes > MOST_ATTACHED_BYTES) left.push(digest);
    return attachedBytes <= MOST_ATTACHED_BYTES;
  });
  const known = attachments.map(({ manifest }) => manifest);
  for (const digest of here) known.push(await readAttachmentManifest(store.blobs, digest));
  const signatures = await readCosignTag(repository, store.blobs, image, known);
  return { attachments: [...attachments, ...signatures.filter(({ digest }) => !here.has(digest))], left };
}

/** Records an attachment whose blobs are here, of an image that is here. */
export async function keepAttachment(
  store: ImageStore,
  { digest, manifest, bytes }: FoundAttachment,
): Promise<void> {
  await store.blobs.put(bytes);
  store.addAttachment(attachmentOf(manifest, digest, bytes.length));
}

/** Reads the manifest of a referrer; undefined when it is left where it is. */
async function readReferrer(
  repository: Repository,
  image: string,
  { digest, mediaType }: Referrer,
): Promise<FoundAttachment | undefined> {
  const found = mediaType === MEDIA_TYPES.manifest ? await repository.manifest(digest) : undefined;
  const manifest = found && understood(found.bytes, digest);
  if (!found || !manifest || found.bytes.length > MOST_MANIFEST_BYTES) return undefined;
  const subject = manifest.subject.digest;
  if (subject !== image) throw wrongContent(`the subject of ${digest}`, repository.registry, image, subject);
  return { digest, manifest, bytes: found.bytes };
}

/** The manifest of an attachment, or undefined when it is of another form. */
function understood(bytes: Buffer, digest: string): AttachmentManifest | undefined {
  try {
    return parseAttachmentManifest(bytes, digest);
  } catch (error) {
    if (error instanceof DoppelError) return undefined;
    throw error;
  }
}

function bytesOf({ config, layers }: AttachmentManifest): number {
  return layers.reduce((sum, { size }) => sum + size, config.size);
}
