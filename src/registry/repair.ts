import { DoppelError } from "../errors.ts";
import { type Descriptor, MEDIA_TYPES } from "../image/manifest.ts";
import { storedBlobs } from "../store/blob-source.ts";
import { checkDigest } from "../store/check-blob.ts";
import type { ImageStore } from "../store/image-store.ts";
import { rebuildPack } from "../store/rebuild-pack.ts";
import { unlessCorrupt } from "../store/unless-corrupt.ts";
import type { Finding } from "../store/verification.ts";
import { verifyImage } from "../store/verify.ts";
import { downloadBlob } from "./download.ts";
import type { Repository } from "./repository.ts";

export interface RepairOptions {
  /** Registries that may have the blobs, asked in this order. */
  repositories: readonly Repository[];
  /** Images whose packs may hold the same clusters; all of the store where none is named. */
  siblings?: readonly string[];
  dryRun: boolean;
  onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
  signal?: AbortSignal;
}

export interface RepairReport {
  digest: string;
  dryRun: boolean;
  repaired: { blob: string; from: string }[];
  /** What is left. */
  findings: Finding[];
}

/**
 * Verifies an image and puts sound blobs in the place of bad ones: fetched from a registry, or rebuilt out of frames that other
 * packs of the store have. A blob counts as sound when its digest fits, and only then takes the place of the bad one.
 */
export async function repairImage(
  store: ImageStore,
  digest: string,
  options: RepairOptions,
): Promise<RepairReport> {
  const repaired: RepairReport["repaired"] = [];
  // Again after each repair: a manifest that was bad names more to look at, and what is said to be whole was read.
  for (;;) {
    const { findings } = await verifyImage(store, { digest }, options);
    const left: Finding[] = [];
    const mended = new Map<string, string | undefined>();
    for (const finding of findings) {
      const { blob } = finding;
      if (!mended.has(blob)) mended.set(blob, await repairBlob(store, blob, options));
      if (mended.get(blob) === undefined) left.push(finding);
    }
    const found = [...mended].flatMap(([blob, from]) => (from === undefined ? [] : { blob, from }));
    repaired.push(...found);
    if (found.length === 0 || options.dryRun)
      return { digest, dryRun: options.dryRun, repaired, findings: left };
  }
}

/** Where the sound blob came from; undefined when there is none. */
async function repairBlob(
  store: ImageStore,
  digest: string,
  options: RepairOptions,
): Promise<string | undefined> {
  options.signal?.throwIfAborted();
  // What is as its digest says was made wrong: nobody has a better one.
  if (await isSound(store, digest)) return undefined;
  for (const repository of options.repositories)
    if (await fetch(store, repository, digest, options.dryRun))
      return `${repository.registry}/${repository.name}`;
  const others = await packsOf(store, options.siblings ?? store.catalog.digests());
  others.delete(digest);
  const { dryRun, signal } = options;
  return (await rebuildPack(store.blobs, digest, others, { dryRun, signal }))
    ? "frames of other packs"
    : undefined;
}

async function isSound(store: ImageStore, digest: string): Promise<boolean> {
  const size = await store.blobs.size(digest);
  if (size === undefined) return false;
  const check = { signal: undefined, onBytes: () => {} };
  const descriptor = { mediaType: MEDIA_TYPES.pack, digest, size };
  return (await checkDigest(storedBlobs(store.blobs, undefined), descriptor, check)).length === 0;
}

async function fetch(
  store: ImageStore,
  repository: Repository,
  digest: string,
  dryRun: boolean,
): Promise<boolean> {
  const size = await repository.blobSize(digest);
  if (size === undefined) return await fetchManifest(store, repository, digest, dryRun);
  if (dryRun) return true;
  const descriptor: Descriptor = { mediaType: MEDIA_TYPES.pack, digest, size };
  try {
    await downloadBlob(repository, store.blobs, descriptor);
    return true;
  } catch (error) {
    // It is as bad there.
    if (error instanceof DoppelError && error.code === "registry-content") return false;
    throw error;
  }
}

/** A registry gives manifests by their own address, and not as blobs. */
async function fetchManifest(
  store: ImageStore,
  repository: Repository,
  digest: string,
  dryRun: boolean,
): Promise<boolean> {
  const found = await repository.manifest(digest);
  if (found && !dryRun) await store.blobs.put(found.bytes);
  return found !== undefined;
}

async function packsOf(store: ImageStore, images: readonly string[]): Promise<Set<string>> {
  const packs = new Set<string>();
  for (const digest of images) {
    const manifest = await unlessCorrupt(store.loadManifest(digest));
    for (const layer of manifest?.layers ?? [])
      if (layer.mediaType === MEDIA_TYPES.pack) packs.add(layer.digest);
  }
  return packs;
}
