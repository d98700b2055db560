import type { KeyObject } from "node:crypto";
import { type AttachmentManifest, MEDIA_TYPES, SIGNATURE_ANNOTATION } from "../image/manifest.ts";
import { readAttachmentManifest } from "../store/attachment-manifest.ts";
import { attach } from "../store/attachments.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { keyId, type TrustedKey } from "./keys.ts";
import { buildPayload, type Claim, parsePayload, signBytes, verifyBytes } from "./payload.ts";

/** Which key made it, for listings; not to be believed. */
const KEY_ANNOTATION = "org.doppel.signature.key";

/** A payload is some hundred bytes. */
const MOST_PAYLOAD_BYTES = 65_536;

/** A signature that one of the wanted keys made over the image. */
export interface GoodSignature extends Claim {
  key: TrustedKey;
}

/**
 * Signs an image: what is signed is the digest of its manifest, which covers config, maps and packs. `identity` is the name
 * that the signer vouches for, as other tools compare it. Returns the digest of the signature's manifest.
 */
export async function signImage(
  store: ImageStore,
  image: StoredImage,
  { key, identity }: { key: KeyObject; identity: string },
): Promise<string> {
  const now = new Date();
  const payload = buildPayload({ digest: image.digest, identity }, now);
  const { digest } = await attach(store, image, {
    artifactType: MEDIA_TYPES.signature,
    created: now.toISOString(),
    annotations: { [KEY_ANNOTATION]: keyId(key) },
    files: [
      {
        title: "payload.json",
        mediaType: MEDIA_TYPES.signaturePayload,
        content: payload,
        annotations: { [SIGNATURE_ANNOTATION]: signBytes(payload, key) },
      },
    ],
  });
  return digest;
}

/** The signatures of an image here that one of `keys` made. */
export async function goodSignatures(
  store: ImageStore,
  digest: string,
  keys: readonly TrustedKey[],
): Promise<GoodSignature[]> {
  const good: GoodSignature[] = [];
  for (const attachment of store.catalog.attachments(digest)) {
    if (attachment.artifactType !== MEDIA_TYPES.signature) continue;
    const manifest = await readAttachmentManifest(store.blobs, attachment.digest);
    good.push(...(await signaturesIn(store.blobs, manifest, digest, keys)));
  }
  return good;
}

/** The signatures in one referrer's manifest that hold for the image `digest`. Its payloads must be in `blobs`. */
export async function signaturesIn(
  blobs: BlobStore,
  manifest: AttachmentManifest,
  digest: string,
  keys: readonly TrustedKey[],
): Promise<GoodSignature[]> {
  const good: GoodSignature[] = [];
  if (manifest.artifactType !== MEDIA_TYPES.signature || manifest.subject.digest !== digest) return good;
  for (const { mediaType, digest: blob, size, annotations } of manifest.layers) {
    const signature = annotations?.[SIGNATURE_ANNOTATION];
    // What is no signature must not hide one that is.
    if (mediaType !== MEDIA_TYPES.signaturePayload || signature === undefined || size > MOST_PAYLOAD_BYTES)
      continue;
    if ((await blobs.size(blob)) !== size) continue;
    const payload = await blobs.read(blob, MOST_PAYLOAD_BYTES);
    const key = verifyBytes(payload, signature, keys);
    const claim = parsePayload(payload);
    if (key && claim?.digest === digest) good.push({ ...claim, key });
  }
  return good;
}

/** The signatures of an image here and the keys that they name, which only `goodSignatures` proves. */
export function listSignatures(
  store: ImageStore,
  digest: string,
): { digest: string; created: string; key: string | null }[] {
  return store.catalog
    .attachments(digest)
    .filter(({ artifactType }) => artifactType === MEDIA_TYPES.signature)
    .map(({ digest: own, created, annotations }) => ({
      digest: own,
      created,
      key: annotations[KEY_ANNOTATION] ?? null,
    }));
}
