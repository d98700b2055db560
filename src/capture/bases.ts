import type { KnownHashes } from "../agent/have-sender.ts";
import { DoppelError, EXIT } from "../errors.ts";
import { type ByteRange, ChangedRanges } from "../image/changed-ranges.ts";
import { CLUSTER_BYTES } from "../image/cluster.ts";
import { diffPlaces } from "../image/disk-diff.ts";
import { DiskMap } from "../image/disk-map.ts";
import type { OpenBlob } from "../image/disk-reader.ts";
import { type DiskIdentity, identifyDisks, matchDisks } from "../machine/match-disks.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import type { KeptCapture } from "../store/kept-captures.ts";
import { knownClusters } from "../store/known-clusters.ts";
import type { PreparedCapture } from "./prepare.ts";

/** What a disk is compared with: an earlier map of it. */
interface Base {
  digest: string;
  map: DiskMap;
  blob: OpenBlob;
  /** Where the map is from. */
  from: "parent" | "interrupted";
}

/** Which earlier images and captures there are. */
export interface Earlier {
  parent: StoredImage | undefined;
  /** Of a capture to the same name that ended early. */
  kept: KeptCapture | undefined;
}

/** One disk as `--dry-run` tells of it. */
export interface Comparison {
  device: string;
  /** Null: nothing of it is known, it is captured whole. */
  with: Base["from"] | null;
  /** Bytes of the clusters whose hashes the machine is sent. */
  knownBytes: number;
}

/** What the disks of a capture are compared with: for each the map of an interrupted capture, else that of the parent. */
export class Bases implements AsyncDisposable {
  readonly disks: readonly (Base | undefined)[];
  readonly #store: ImageStore;
  readonly #prepared: PreparedCapture;
  readonly #warn: (message: string) => void;
  /** For each disk the digest of the parent's map of it. */
  readonly #parentMaps: readonly (string | undefined)[];

  private constructor(
    store: ImageStore,
    prepared: PreparedCapture,
    found: { disks: (Base | undefined)[]; parentMaps: (string | undefined)[] },
    warn: (message: string) => void,
  ) {
    this.#store = store;
    this.#prepared = prepared;
    this.disks = found.disks;
    this.#parentMaps = found.parentMaps;
    this.#warn = warn;
  }

  /**
   * Finds and opens them. A map that cannot be read is left out with a warning: the disk is captured whole. Throws
   * `parent-unrelated` when no disk is in the parent.
   */
  static async open(
    store: ImageStore,
    prepared: PreparedCapture,
    earlier: Earlier,
    warn: (message: string) => void,
  ): Promise<Bases> {
    const now = identifyDisks(prepared.disks, prepared.facts);
    const parentMaps = mapsOfParent(earlier.parent, now);
    // What an interrupted capture kept has in it what its own parent had, and nothing of another one.
    const kept = hasParent(store, earlier.kept, earlier.parent) ? earlier.kept : undefined;
    const keptMatches = kept ? matchDisks(kept.disks, now) : [];
    const disks: (Base | undefined)[] = [];
    for (const index of now.keys()) {
      const keptMap = kept?.disks[keptMatches[index] ?? -1]?.map;
      const base =
        (await openBase(store, keptMap, "interrupted", warn)) ??
        (await openBase(store, parentMaps[index], "parent", warn));
      disks.push(base);
    }
    return new Bases(store, prepared, { disks, parentMaps }, warn);
  }

  get comparisons(): Comparison[] {
    return this.#prepared.disks.map(({ device }, index) => {
      const base = this.disks[index];
      const knownBytes = (base?.map.coveredClusters ?? 0) * CLUSTER_BYTES;
      return { device, with: base?.from ?? null, knownBytes };
    });
  }

  /** The hashes for the agent, of each disk that has a base. */
  known(): KnownHashes {
    return this.#prepared.disks.map(({ sizeBytes }, index) => {
      const base = this.disks[index];
      return base && (() => knownClusters(this.#store.blobs, base.map, sizeBytes, this.#warn));
    });
  }

  /** What of a disk differs from the parent's, once the map `digest` of it is written; undefined: the parent has no such disk. */
  async changed(index: number, digest: string): Promise<ByteRange[] | undefined> {
    const before = await openBase(this.#store, this.#parentMaps[index], "parent", () => {});
    if (!before) return undefined;
    await using _before = before.blob;
    await using blob = await this.#store.blobs.openBlob(digest);
    const after = await DiskMap.open(blob, digest);
    const changed = new ChangedRanges(after.diskBytes);
    for await (const { firstCluster, count } of diffPlaces(before.map, after))
      changed.add(firstCluster, count);
    return changed.ranges;
  }

  /** What is to be kept of a capture that ended early: `maps` are of the disks that began, the others stay as they were. */
  keep(maps: readonly { digest: string }[], parent: StoredImage | undefined): KeptCapture {
    const disks = identifyDisks(this.#prepared.disks, this.#prepared.facts).flatMap((disk, index) => {
      const base = this.disks[index];
      const map = maps[index]?.digest ?? (base?.from === "interrupted" ? base.digest : undefined);
      return map === undefined ? [] : [{ ...disk, map }];
    });
    return { created: new Date().toISOString(), parent: parent?.digest ?? null, disks };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const base of this.disks) await base?.blob[Symbol.asyncDispose]();
  }
}

/** Whether an interrupted capture was compared with `parent`, which may have been compacted since. */
function hasParent(
  store: ImageStore,
  kept: KeptCapture | undefined,
  parent: StoredImage | undefined,
): boolean {
  if (!kept?.parent || !parent) return !kept?.parent && !parent;
  return store.catalog.currentDigest(kept.parent) === store.catalog.currentDigest(parent.digest);
}

function mapsOfParent(parent: StoredImage | undefined, now: readonly DiskIdentity[]): (string | undefined)[] {
  if (!parent) return [];
  const { disks, facts, host } = parent.config.doppel;
  const matches = matchDisks(identifyDisks(disks, facts), now);
  if (matches.every((match) => match === undefined)) {
    const names = now.map(({ device }) => device).join(", ");
    throw new DoppelError("parent-unrelated", `the parent, of ${host}, has no disk like ${names}`, {
      hint: "name an image of the same machine, or leave out --parent",
      exitCode: EXIT.refused,
    });
  }
  return matches.map((match) => disks[match ?? -1]?.map);
}

async function openBase(
  store: ImageStore,
  digest: string | undefined,
  from: Base["from"],
  warn: (message: string) => void,
): Promise<Base | undefined> {
  if (digest === undefined) return undefined;
  let blob: OpenBlob | undefined;
  try {
    blob = await store.blobs.openBlob(digest);
    const map = await DiskMap.open(blob, digest);
    // Read once whole: what is wrong with it shows before anything has been copied.
    for await (const _batch of map.extents());
    return { digest, map, blob, from };
  } catch (error) {
    await blob?.[Symbol.asyncDispose]();
    if (!(error instanceof DoppelError)) throw error;
    warn(`a disk is captured whole, since the map to compare it with cannot be read: ${error.message}`);
    return undefined;
  }
}
