import { readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { TEMPORARY_NAME } from "../durable-file.ts";
import { UPLOAD_NAME } from "./blobs.ts";
import { Holders } from "./holders.ts";
import type { ImageStore } from "./image-store.ts";
import { isProcessAlive, leaseHolders } from "./leases.ts";

export interface Leftovers {
  files: number;
  bytes: number;
}

/** Removes what dead processes left half-written: uploads, files under temporary names; inside a transaction. */
export function removeUnfinished(store: ImageStore, dryRun: boolean): Leftovers {
  const cache = join(store.home, "cache");
  const unfinished = [
    ...filesOf(store.blobs.uploads, UPLOAD_NAME),
    ...filesOf(store.blobs.uploads, TEMPORARY_NAME),
    ...filesOf(store.layout, TEMPORARY_NAME),
    ...filesOf(cache, TEMPORARY_NAME),
  ];
  // Who writes has claimed something first: whatever was listed above has its claim by now.
  const writers = leaseHolders(store.catalog.database);
  const dead = unfinished.filter(({ pid }) => !writers.has(pid) || !isProcessAlive(pid));
  return removeFiles(
    dead.map(({ path }) => path),
    dryRun,
  );
}

const BASE_NAME = /^([0-9a-f]{64})-\d+\.qcow2$/;

/** Removes the cached bases (HOME/cache) of images that are no more, unless a machine runs on them; inside a transaction. */
export function removeBases(store: ImageStore, gone: ReadonlySet<string>, dryRun: boolean): Leftovers {
  const { baseDigests } = new Holders(store.catalog, store.home);
  const folder = join(store.home, "cache");
  const unused = filesOf(folder, BASE_NAME).filter(({ name }) => {
    const digest = `sha256:${BASE_NAME.exec(name)?.[1]}`;
    return !baseDigests.has(digest) && (gone.has(digest) || !store.catalog.has(digest));
  });
  return removeFiles(
    unused.map(({ path }) => path),
    dryRun,
  );
}

/** The files of a folder whose names fit; `pid` is the pattern's first group as a number. */
function filesOf(folder: string, pattern: RegExp): { name: string; path: string; pid: number }[] {
  const names = statSync(folder, { throwIfNoEntry: false }) ? readdirSync(folder) : [];
  return names.flatMap((name) => {
    const match = pattern.exec(name);
    return match ? [{ name, path: join(folder, name), pid: Number(match[1]) }] : [];
  });
}

function removeFiles(paths: readonly string[], dryRun: boolean): Leftovers {
  const removed: Leftovers = { files: 0, bytes: 0 };
  for (const path of paths) {
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    if (size === undefined) continue;
    if (!dryRun) rmSync(path, { force: true });
    removed.files++;
    removed.bytes += size;
  }
  return removed;
}
