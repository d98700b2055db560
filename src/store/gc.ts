import { readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DoppelError, EXIT } from "../errors.ts";
import type { Reference } from "../image/reference.ts";
import { readAttachmentManifest } from "./attachment-manifest.ts";
import { UPLOAD_NAME } from "./blobs.ts";
import type { ImageStore } from "./image-store.ts";
import { isProcessAlive, oldestLiveLease } from "./leases.ts";

export interface GarbageReport {
  dryRun: boolean;
  images: string[];
  blobs: number;
  uploads: number;
  freedBytes: number;
}

/** Blobs younger than this are kept: a capture may have just found one of them in the store. */
const GRACE_MS = 60_000;

const instanceSchema = z.looseObject({ name: z.string(), imageDigest: z.string() });

/** Instances (HOME/instances/NAME/instance.json) by the image that they run on. */
export async function instancesByImage(home: string): Promise<Map<string, string[]>> {
  const folder = join(home, "instances");
  const names = await readdir(folder).catch(() => []);
  const found = new Map<string, string[]>();
  for (const name of names) {
    const text = await readFile(join(folder, name, "instance.json"), "utf8").catch(() => undefined);
    const parsed = text === undefined ? undefined : instanceSchema.safeParse(JSON.parse(text));
    if (!parsed?.success) continue;
    found.set(parsed.data.imageDigest, [...(found.get(parsed.data.imageDigest) ?? []), parsed.data.name]);
  }
  return found;
}

/** Refuses to remove an image that instances run on (`image-in-use`, exit 3). */
export async function refuseInUse(store: ImageStore, digest: string, reference: Reference): Promise<void> {
  const instances = (await instancesByImage(store.home)).get(digest);
  const otherTags = store.catalog.tagsOf(digest).length > 1;
  if (!instances || otherTags) return;
  throw new DoppelError(
    "image-in-use",
    `${reference.name}:${reference.tag} is the base of ${instances.join(", ")}`,
    {
      hint: `discard them first: doppel discard ${instances[0]}`,
      exitCode: EXIT.refused,
    },
  );
}

/**
 * Removes images that nothing names (no tag, no child, no instance), then every blob that no image needs, and what
 * dead processes left half-written. Blobs that a running capture may rely on are kept.
 */
export async function collectGarbage(
  store: ImageStore,
  options: { dryRun: boolean },
): Promise<GarbageReport> {
  const images = await dropUnnamedImages(store, options.dryRun);
  const gone = new Set(options.dryRun ? images : []);
  const needed = await neededBlobs(store, gone);
  const report: GarbageReport = { dryRun: options.dryRun, images, blobs: 0, uploads: 0, freedBytes: 0 };
  const keepFrom = Math.min(
    Date.now() - GRACE_MS,
    oldestLiveLease(store.catalog.database)?.getTime() ?? Infinity,
  );
  for (const hex of await readdir(store.blobs.folder)) {
    if (needed.has(`sha256:${hex}`)) continue;
    const freed = await removeFile(join(store.blobs.folder, hex), keepFrom, options.dryRun);
    if (freed === undefined) continue;
    report.blobs++;
    report.freedBytes += freed;
  }
  report.freedBytes += await removeBases(store, gone, options.dryRun);
  for (const name of await readdir(store.blobs.uploads)) {
    const pid = Number(UPLOAD_NAME.exec(name)?.[1]);
    if (!Number.isInteger(pid) || isProcessAlive(pid)) continue;
    report.freedBytes += (await removeFile(join(store.blobs.uploads, name), Infinity, options.dryRun)) ?? 0;
    report.uploads++;
  }
  return report;
}

async function dropUnnamedImages(store: ImageStore, dryRun: boolean): Promise<string[]> {
  const instances = await instancesByImage(store.home);
  const dropped = new Set<string>();
  for (let again = true; again; ) {
    again = false;
    for (const digest of store.catalog.digests()) {
      const children = store.catalog.childrenOf(digest).filter((child) => !dropped.has(child));
      const kept = store.catalog.tagsOf(digest).length > 0 || children.length > 0 || instances.has(digest);
      if (kept || dropped.has(digest)) continue;
      dropped.add(digest);
      again = true;
      if (!dryRun) store.removeImage(digest);
    }
  }
  return [...dropped];
}

async function neededBlobs(store: ImageStore, gone: ReadonlySet<string>): Promise<Set<string>> {
  const needed = new Set<string>();
  for (const digest of store.catalog.digests()) {
    if (gone.has(digest)) continue;
    needed.add(digest);
    const { manifest } = await store.load(digest);
    needed.add(manifest.config.digest);
    for (const layer of manifest.layers) needed.add(layer.digest);
    for (const attachment of store.catalog.attachments(digest)) {
      needed.add(attachment.digest);
      const { config, layers } = await readAttachmentManifest(store.blobs, attachment.digest);
      for (const blob of [config, ...layers]) needed.add(blob.digest);
    }
  }
  return needed;
}

const BASE_NAME = /^([0-9a-f]{64})-\d+\.qcow2$/;

/** Removes the cached bases (HOME/cache) of images that are no more; returns their bytes. */
async function removeBases(store: ImageStore, gone: ReadonlySet<string>, dryRun: boolean): Promise<number> {
  const folder = join(store.home, "cache");
  let freed = 0;
  for (const name of await readdir(folder).catch(() => [])) {
    const hex = BASE_NAME.exec(name)?.[1];
    if (hex === undefined) continue;
    const digest = `sha256:${hex}`;
    if (store.catalog.has(digest) && !gone.has(digest)) continue;
    freed += (await removeFile(join(folder, name), Infinity, dryRun)) ?? 0;
  }
  return freed;
}

/** Removes a file older than `keepFromMs` (milliseconds of the epoch) and returns its size. */
async function removeFile(path: string, keepFromMs: number, dryRun: boolean): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (!found || found.mtimeMs >= keepFromMs) return undefined;
  if (!dryRun) await rm(path, { force: true });
  return found.size;
}
