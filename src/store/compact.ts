import type { ImageConfig } from "../image/config.ts";
import type { MapPack } from "../image/disk-map.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import { readPackIndex } from "../image/pack.ts";
import { formatReference } from "../image/reference.ts";
import { moveAttachments } from "./attachments.ts";
import type { Attachment } from "./catalog.ts";
import { Holders } from "./holders.ts";
import type { ImageStore, StoredImage } from "./image-store.ts";
import { readPackUsage, type UsedFrames } from "./pack-usage.ts";
import { type Repacked, repack, rewriteMap } from "./repack.ts";

export interface CompactOptions {
  /** Digests of the images whose packs are looked at; undefined: all. */
  images?: readonly string[] | undefined;
  /** Artifact types of attachments that say the same of an image with the same disks, and move along. */
  movable: readonly string[];
  /** Also rewrite images that a registry is known to have under their digests. */
  published: boolean;
  dryRun: boolean;
  signal?: AbortSignal;
}

export interface CompactReport {
  dryRun: boolean;
  /** Packs of which more than a quarter is dead and which are repacked. */
  packs: number;
  /** Bytes of their dead frames: what garbage collection can free afterwards. */
  deadBytes: number;
  images: { names: string[]; before: string; after: string | null }[];
  /** Packs that stay as they are, and why. */
  skipped: { pack: string; deadBytes: number; why: string[] }[];
}

const DEAD_SHARE = 1 / 4;

interface Rewritten {
  before: string;
  image: StoredImage;
  /** What was attached to the image when it was read, and what that became. */
  seen: Attachment[];
  attachments: Attachment[];
}

/**
 * Repacks packs of which more than a quarter of the frames are dead: used by no map of any image. Every image that uses one is
 * made anew with the same disks; names and children follow, in one transaction. The old images, and with them the old packs, are
 * left to garbage collection. Only one compaction runs at a time (`name-busy`).
 */
export async function compactImages(store: ImageStore, options: CompactOptions): Promise<CompactReport> {
  await using _only = store.reserve("store", "compaction");
  store.work();
  const live = store.catalog.rehearse(() => {
    const unheld = new Set(new Holders(store.catalog, store.home).unheld(store.catalog.untagged()));
    return store.catalog.digests().filter((digest) => !unheld.has(digest));
  });
  const usage = await readPackUsage(store, live, options.signal);
  const report: CompactReport = { dryRun: options.dryRun, packs: 0, deadBytes: 0, images: [], skipped: [] };
  const chosen = await choosePacks(store, usage, options, report);
  const digests = new Set([...chosen.values()].flatMap(({ images }) => [...images]));
  const names = namesOf(store, digests);
  const rewritten = options.dryRun ? [] : await rewriteImages(store, chosen, digests, options);
  const replaced = replaceImages(store, rewritten);
  for (const before of digests)
    report.images.push({ before, names: names.get(before) ?? [], after: replaced.get(before) ?? null });
  return report;
}

async function choosePacks(
  store: ImageStore,
  usage: ReadonlyMap<string, UsedFrames>,
  options: CompactOptions,
  report: CompactReport,
): Promise<Map<string, UsedFrames>> {
  const chosen = new Map<string, UsedFrames>();
  for (const [pack, used] of usage) {
    if (options.images && !options.images.some((digest) => used.images.has(digest))) continue;
    if (used.frameCount - used.liveFrames <= used.frameCount * DEAD_SHARE) continue;
    const deadBytes = await deadBytesOf(store, pack, used);
    const why = [...used.images].flatMap((digest) => whyFixed(store, digest, options));
    if (why.length > 0) {
      report.skipped.push({ pack, deadBytes, why });
      continue;
    }
    chosen.set(pack, used);
    report.packs++;
    report.deadBytes += deadBytes;
  }
  return chosen;
}

/** Why an image must keep its digest. */
function whyFixed({ catalog }: ImageStore, digest: string, options: CompactOptions): string[] {
  const name = catalog.tagsOf(digest).map(formatReference)[0] ?? digest;
  const bound = catalog
    .attachments(digest)
    .filter(({ artifactType }) => !options.movable.includes(artifactType));
  const channels = catalog.tagsOf(digest).filter((tag) => catalog.channels.find(tag));
  const remotes = options.published ? [] : catalog.remotesOf(digest);
  return [
    ...channels.map((channel) => `${formatReference(channel)} is a channel, which moves by promotion only`),
    ...bound.map(({ artifactType }) => `${name} has a ${artifactType}, which vouches for its digest`),
    ...remotes.map((remote) => `${name} is ${remote} in a registry`),
  ];
}

async function deadBytesOf(store: ImageStore, pack: string, used: UsedFrames): Promise<number> {
  await using blob = await store.blobs.openBlob(pack);
  const index = await readPackIndex(blob, pack);
  let dead = 0;
  for (let frame = 0; frame < index.frameCount; frame++) if (!used.has(frame)) dead += index.lengthOf(frame);
  return dead;
}

function namesOf({ catalog }: ImageStore, digests: ReadonlySet<string>): Map<string, string[]> {
  return new Map([...digests].map((digest) => [digest, catalog.tagsOf(digest).map(formatReference)]));
}

async function rewriteImages(
  store: ImageStore,
  packs: ReadonlyMap<string, UsedFrames>,
  digests: ReadonlySet<string>,
  options: CompactOptions,
): Promise<Rewritten[]> {
  if (packs.size === 0) return [];
  const repacked = await repack(store, packs, options.signal);
  const rewritten: Rewritten[] = [];
  for (const before of digests) {
    const seen = store.catalog.attachments(before);
    const image = await rewriteImage(store, await store.load(before), repacked);
    const attachments = await moveAttachments(store, seen, image);
    rewritten.push({ before, image, seen, attachments });
  }
  return rewritten;
}

async function rewriteImage(store: ImageStore, old: StoredImage, repacked: Repacked): Promise<StoredImage> {
  const { doppel } = old.config;
  const disks: ImageConfig["doppel"]["disks"] = [];
  const maps = [];
  const packs: MapPack[] = [];
  for (const disk of doppel.disks) {
    const map = await rewriteMap(store, disk.map, repacked);
    disks.push({ ...disk, map: map.digest });
    maps.push({ mediaType: MEDIA_TYPES.diskMap, digest: map.digest, size: map.sizeBytes });
    packs.push(...map.packs);
  }
  const lineage = { ...doppel.lineage, replaces: old.digest };
  const config = { ...old.config, doppel: { ...doppel, disks, lineage } };
  const firmwareVariables = old.manifest.layers.find(({ digest }) => digest === doppel.firmwareVariables);
  return await store.writeImage({ config, maps, firmwareVariables, packs });
}

/** Lets the new images take the place of the old ones; not of one that was changed meanwhile. Returns them by the old digest. */
function replaceImages(store: ImageStore, rewritten: readonly Rewritten[]): Map<string, string> {
  if (rewritten.length === 0) return new Map();
  const { catalog } = store;
  return store.change(() => {
    const replaced = new Map<string, string>();
    for (const { before, image, seen, attachments } of rewritten) {
      if (!catalog.has(before) || catalog.attachments(before).length !== seen.length) continue;
      store.record(image);
      for (const { name, tag } of catalog.tagsOf(before)) catalog.setTag(name, tag, image.digest);
      for (const attachment of attachments) store.recordAttachment(attachment);
      replaced.set(before, image.digest);
    }
    // When all are there: a child may be among them.
    for (const [before, after] of replaced) catalog.replace(before, after);
    return replaced;
  });
}
