import { readdir } from "node:fs/promises";
import { DoppelError, EXIT } from "../errors.ts";
import { formatReference, type Reference } from "../image/reference.ts";
import { type Hold, Holders } from "./holders.ts";
import type { ImageStore, Removal } from "./image-store.ts";
import { dropKeptCaptures } from "./kept-captures.ts";
import { dropDeadLeases, type Holder, nextSequence, workBefore } from "./leases.ts";
import { removeBases, removeUnfinished } from "./leftovers.ts";
import { NeededBlobs } from "./needed-blobs.ts";

export interface GarbageOptions {
  dryRun: boolean;
  /** How long a blob that nothing needs lies in quarantine before it is unlinked. */
  graceMs: number;
  /** False: also what interrupted captures had received. */
  keptCaptures?: boolean;
  /** Names that a dry run looks at as if they had been taken away. */
  without?: readonly { name: string; tag: string }[];
}

export interface GarbageReport {
  dryRun: boolean;
  /** Digests of images that nothing kept any more. */
  images: string[];
  /** Blobs that were put into quarantine now, and their bytes. */
  quarantinedBlobs: number;
  quarantinedBytes: number;
  /** Blobs that were unlinked. */
  blobs: number;
  /** What dead processes left half-written. */
  uploads: number;
  /** Bytes of what was unlinked: blobs, half-written files, cached bases. */
  freedBytes: number;
  /** Blobs that are still in quarantine. */
  waitingBlobs: number;
  waitingBytes: number;
  /** A process that began before they were put there, and may rely on them. */
  waitsFor: Holder | null;
}

export const DEFAULT_GRACE_MS = 600_000;

const BLOBS_A_TRANSACTION = 1024;
const HEX = /^[0-9a-f]{64}$/;

/**
 * Removes images that nothing keeps, and every blob that no image needs, in steps of which each leaves the store sound: the
 * catalog forgets the images; their blobs go into quarantine; from there, after the grace period and when no process is left
 * that may have seen them in their place, and once more looked at, they are unlinked. Whoever wants one meanwhile has it back.
 */
export async function collectGarbage(store: ImageStore, options: GarbageOptions): Promise<GarbageReport> {
  const images = dropUnheldImages(store, options);
  const gone = new Set(options.dryRun ? images : []);
  const keptCaptures = options.keptCaptures ?? true;
  if (!options.dryRun) dropKeptCaptures(store.catalog, keptCaptures ? "old" : "all");
  const run = new Collection(store, new NeededBlobs(store, { images: gone, keptCaptures }), options, images);
  await run.bury();
  await run.purge();
  run.clean(gone);
  return run.report;
}

/** Refuses to take the last name from an image that machines run on (`image-in-use`, exit 3); for `untag`. */
export function refuseInUse(store: ImageStore, reference: Reference): (removal: Removal) => void {
  return ({ digest, left }) => {
    const machines = left > 0 ? [] : new Holders(store.catalog, store.home).machinesOf(digest);
    if (machines.length === 0) return;
    throw new DoppelError(
      "image-in-use",
      `${formatReference(reference)} is the base of ${machines.join(", ")}`,
      {
        hint: `discard them first: doppel discard ${machines[0]}`,
        exitCode: EXIT.refused,
      },
    );
  };
}

/** What keeps an image: nothing when it is gone. */
export function holdsOf(store: ImageStore, digest: string): Hold[] {
  const { catalog } = store;
  return catalog.rehearse(() => {
    if (!catalog.has(digest)) return [];
    const names = catalog
      .tagsOf(digest)
      .map((name) => ({ kind: "name" as const, by: formatReference(name) }));
    return [...names, ...new Holders(catalog, store.home).holdsOf(digest, () => false)];
  });
}

function dropUnheldImages(store: ImageStore, { dryRun, without = [] }: GarbageOptions): string[] {
  const { catalog } = store;
  const unheld = () => new Holders(catalog, store.home).unheld(catalog.untagged());
  if (dryRun)
    return catalog.rehearse(() => {
      for (const { name, tag } of without) catalog.removeTag(name, tag);
      return unheld();
    });
  return catalog.transaction(() => {
    dropDeadLeases(catalog.database);
    const dropped = unheld();
    if (dropped.length > 0)
      store.change(() => {
        for (const digest of dropped) catalog.removeImage(digest);
      });
    return dropped;
  });
}

class Collection {
  readonly report: GarbageReport;
  readonly #store: ImageStore;
  readonly #needed: NeededBlobs;
  readonly #options: GarbageOptions;

  constructor(store: ImageStore, needed: NeededBlobs, options: GarbageOptions, images: string[]) {
    this.#store = store;
    this.#needed = needed;
    this.#options = options;
    this.report = {
      dryRun: options.dryRun,
      images,
      quarantinedBlobs: 0,
      quarantinedBytes: 0,
      blobs: 0,
      uploads: 0,
      freedBytes: 0,
      waitingBlobs: 0,
      waitingBytes: 0,
      waitsFor: null,
    };
  }

  /** Puts blobs that nothing needs into quarantine. */
  async bury(): Promise<void> {
    await this.#needed.update();
    const hexes = (await readdir(this.#store.blobs.folder)).filter((name) => HEX.test(name));
    const garbage = hexes.filter((hex) => !this.#needed.has(hex));
    for (let start = 0; start < garbage.length; start += BLOBS_A_TRANSACTION)
      await this.#buryBatch(garbage.slice(start, start + BLOBS_A_TRANSACTION));
  }

  async #buryBatch(hexes: readonly string[]): Promise<void> {
    if (this.#options.dryRun) return this.#wouldBury(hexes);
    while (!this.#tryBury(hexes)) await this.#needed.update();
  }

  /** False when images have come of which it is not known what they need. */
  #tryBury(hexes: readonly string[]): boolean {
    const { catalog, blobs } = this.#store;
    return catalog.transaction(() => {
      if (!this.#needed.isCurrent()) return false;
      // The number is taken together with the renames: what began later cannot have seen the blobs in their place.
      const newest = blobs.quarantine.generations().at(-1)?.sequence ?? 0;
      const generation = blobs.quarantine.begin(nextSequence(catalog.database, newest + 1), Date.now());
      for (const hex of hexes) {
        const bytes = this.#needed.has(hex) ? undefined : blobs.quarantine.take(generation, hex);
        if (bytes === undefined) continue;
        this.report.quarantinedBlobs++;
        this.report.quarantinedBytes += bytes;
      }
      return true;
    });
  }

  #wouldBury(hexes: readonly string[]): void {
    const waitsFor = workBefore(this.#store.catalog.database, Infinity);
    for (const hex of hexes) {
      const bytes = this.#store.blobs.sizeNow(`sha256:${hex}`);
      if (bytes === undefined) continue;
      this.report.quarantinedBlobs++;
      this.report.quarantinedBytes += bytes;
      if (this.#options.graceMs > 0 || waitsFor) this.#wait(bytes, waitsFor);
      else this.#free(bytes);
    }
  }

  /** Unlinks what has been in quarantine for long enough. */
  async purge(): Promise<void> {
    const { catalog, blobs } = this.#store;
    const { quarantine } = blobs;
    const now = Date.now();
    for (const generation of quarantine.generations()) {
      const waitsFor = workBefore(catalog.database, generation.sequence);
      const early = this.#options.graceMs > 0 && now - generation.since < this.#options.graceMs;
      // Looked at after the processes: what those that have ended left is in the catalog by now.
      await this.#needed.update();
      for (const hex of quarantine.blobsOf(generation)) {
        const bytes = quarantine.sizeOf(generation, hex);
        if (bytes === undefined) continue;
        if (this.#needed.has(hex)) this.#bringBack(hex);
        else if (early || waitsFor) this.#wait(bytes, waitsFor);
        else if (this.#options.dryRun || quarantine.unlink(generation, hex)) this.#free(bytes);
      }
      if (!this.#options.dryRun) quarantine.end(generation);
    }
  }

  /** Removes what dead processes left, and cached bases of images that are gone. */
  clean(gone: ReadonlySet<string>): void {
    const { dryRun } = this.#options;
    this.#store.catalog.transaction(() => {
      const unfinished = removeUnfinished(this.#store, dryRun);
      const bases = removeBases(this.#store, gone, dryRun);
      this.report.uploads = unfinished.files;
      this.report.freedBytes += unfinished.bytes + bases.bytes;
    });
  }

  #bringBack(hex: string): void {
    if (this.#options.dryRun) return;
    if (this.#store.blobs.restore(`sha256:${hex}`)) this.#store.blobs.quarantine.sync();
  }

  #free(bytes: number): void {
    this.report.blobs++;
    this.report.freedBytes += bytes;
  }

  #wait(bytes: number, holder: Holder | undefined): void {
    this.report.waitingBlobs++;
    this.report.waitingBytes += bytes;
    this.report.waitsFor ??= holder ?? null;
  }
}
