import { DoppelError, messageOf, systemErrorCode } from "../errors.ts";
import { clusterCount } from "../image/cluster.ts";
import type { DiskMap, MapPack } from "../image/disk-map.ts";
import { type HashRun, PackHashes } from "../image/pack-hashes.ts";
import type { BlobStore } from "./blobs.ts";

/** Most hashes of one run. */
const HASHES_A_RUN = 4096;
/** Packs that are open at a time. */
const OPEN_PACKS = 32;
/** What says that a pack is of no use, and that another one may be. */
const UNREADABLE = new Set(["pack-corrupt", "blob-missing"]);

/**
 * The hashes of the clusters that a disk map covers, ascending, of a disk that now has `diskBytes`. What lies in a pack that
 * cannot be read is left out, and `warn` hears of it once. Memory does not grow with the disk.
 */
export async function* knownClusters(
  blobs: BlobStore,
  map: DiskMap,
  diskBytes: number,
  warn: (message: string) => void,
): AsyncGenerator<HashRun, void> {
  const end = clusterCount(diskBytes);
  await using packs = new HashedPacks(blobs, warn);
  for await (const batch of map.extents()) {
    for (const { firstCluster, count, pack: number, firstFrame } of batch) {
      const pack = map.packs[number];
      const inside = Math.min(count, end - firstCluster);
      for (let done = 0; done < inside; done += HASHES_A_RUN) {
        const opened = pack && (await packs.open(pack));
        if (!opened) break;
        const hashes = await opened.read(firstFrame + done, Math.min(HASHES_A_RUN, inside - done));
        yield { firstCluster: firstCluster + done, hashes };
      }
    }
  }
}

/** The packs of one disk, the least recent closed again. */
class HashedPacks implements AsyncDisposable {
  readonly #blobs: BlobStore;
  readonly #warn: (message: string) => void;
  readonly #open = new Map<string, PackHashes>();
  readonly #unreadable = new Set<string>();
  readonly #checked = new Set<string>();

  constructor(blobs: BlobStore, warn: (message: string) => void) {
    this.#blobs = blobs;
    this.#warn = warn;
  }

  async open(pack: MapPack): Promise<PackHashes | undefined> {
    if (this.#unreadable.has(pack.digest)) return undefined;
    const kept = this.#open.get(pack.digest);
    this.#open.delete(pack.digest);
    const opened = kept ?? (await this.#openNew(pack));
    if (opened) this.#open.set(pack.digest, opened);
    return opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opened of this.#open.values()) await opened[Symbol.asyncDispose]();
    this.#open.clear();
  }

  async #openNew(pack: MapPack): Promise<PackHashes | undefined> {
    await this.#closeOldest();
    try {
      const opened = await PackHashes.open(await this.#blobs.openBlob(pack.digest), pack);
      if (!this.#checked.has(pack.digest)) await this.#check(pack, opened);
      return opened;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      this.#unreadable.add(pack.digest);
      const why = messageOf(error);
      this.#warn(`what lies in a pack that cannot be read is captured again: ${why}`);
      return undefined;
    }
  }

  async #check({ digest }: MapPack, opened: PackHashes): Promise<void> {
    try {
      await opened.check();
      this.#checked.add(digest);
    } catch (error) {
      await opened[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #closeOldest(): Promise<void> {
    if (this.#open.size < OPEN_PACKS) return;
    for (const [digest, opened] of this.#open) {
      this.#open.delete(digest);
      await opened[Symbol.asyncDispose]();
      return;
    }
  }
}

function isUnreadable(error: unknown): boolean {
  if (error instanceof DoppelError) return UNREADABLE.has(error.code);
  return systemErrorCode(error) === "EIO";
}
