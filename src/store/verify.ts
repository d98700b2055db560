import { MEDIA_TYPES } from "../image/manifest.ts";
import { readAttachmentManifest } from "./attachment-manifest.ts";
import { storedBlobs } from "./blob-source.ts";
import type { Candidate } from "./damage.ts";
import type { ImageStore } from "./image-store.ts";
import { unlessCorrupt } from "./unless-corrupt.ts";
import { Verification, type VerifyOptions, type VerifyReport } from "./verification.ts";

/**
 * Reads every blob of an image, every frame, and compares every hash. A finding names every image of the store that has the
 * bad blob, and the clusters that it hurts.
 */
export async function verifyImage(
  store: ImageStore,
  { digest }: { digest: string },
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  return await verifyImages(store, [digest], options);
}

/** The same of every image of the store: what several of them share is read once. */
export async function verifyStore(store: ImageStore, options: VerifyOptions = {}): Promise<VerifyReport> {
  return await verifyImages(store, store.catalog.digests(), options);
}

async function verifyImages(
  store: ImageStore,
  digests: readonly string[],
  options: VerifyOptions,
): Promise<VerifyReport> {
  const verification = new Verification(storedBlobs(store.blobs, options.signal), options);
  verification.expect((await bytesOf(store, digests)) * (options.sample?.share ?? 1));
  const sizes = store.catalog.manifestSizes();
  for (const digest of digests) {
    // Removed since the list was made.
    if (!store.catalog.has(digest)) continue;
    const descriptor = { mediaType: MEDIA_TYPES.manifest, digest, size: sizes.get(digest) ?? 0 };
    await verification.verifyImage(descriptor);
    for (const attachment of store.catalog.attachments(digest))
      await verification.verifyAttachment({
        mediaType: MEDIA_TYPES.manifest,
        digest: attachment.digest,
        size: attachment.manifestBytes,
      });
  }
  return await verification.finish(candidates(store));
}

/** Bytes of all layers of some images, what they share counted once; an image that cannot be read counts nothing. */
async function bytesOf(store: ImageStore, digests: readonly string[]): Promise<number> {
  const sizes = new Map<string, number>();
  for (const digest of digests) {
    const image = await unlessCorrupt(store.load(digest));
    for (const layer of image?.manifest.layers ?? []) sizes.set(layer.digest, layer.size);
  }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

/** Every image of the store, as far as it can be read. */
async function* candidates(store: ImageStore): AsyncGenerator<Candidate> {
  for (const digest of store.catalog.digests()) {
    const names = store.catalog.tagsOf(digest).map(({ name, tag }) => `${name}:${tag}`);
    const manifest = await unlessCorrupt(store.loadManifest(digest));
    const image = manifest && (await unlessCorrupt(store.load(digest)));
    const attached: string[] = [];
    for (const attachment of store.catalog.attachments(digest)) {
      attached.push(attachment.digest);
      const own = await unlessCorrupt(readAttachmentManifest(store.blobs, attachment.digest));
      if (own) attached.push(...[own.config, ...own.layers].map((blob) => blob.digest));
    }
    yield { digest, names, attached, manifest, config: image?.config };
  }
}
