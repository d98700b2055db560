import { CLUSTER_BYTES } from "../image/cluster.ts";
import type { ImageConfig } from "../image/config.ts";
import { type ClusterRun, diffDisks } from "../image/disk-diff.ts";
import { identifyDisks, matchDisks } from "../machine/match-disks.ts";
import type { ImageStore, StoredImage } from "./image-store.ts";

type Disk = ImageConfig["doppel"]["disks"][number];
type Region = Disk["regions"][number];

/** How one part of a disk (a file system, a table, a gap) differs. */
export interface RegionDiff {
  kind: string;
  path: string | null;
  mountpoint: string | null;
  offsetBytes: number;
  lengthBytes: number;
  changedBytes: number;
}

export interface DiskDiff {
  name: string;
  /** `changed` and `same` are of disks that both images have. */
  state: "same" | "changed" | "added" | "removed";
  /** In the first image and in the second; null where it has no such disk. */
  sizeBytes: [number | null, number | null];
  changedBytes: number;
  /** The parts of the second image's disk in which something differs. */
  regions: RegionDiff[];
}

export interface ImageDiff {
  left: string;
  right: string;
  changedBytes: number;
  disks: DiskDiff[];
}

/**
 * What differs between two images, by disk and by file system, in bytes of whole clusters. Disks are matched by their serial
 * numbers, as a machine may name them otherwise at each start, and without these by name and size.
 */
export async function diffImages(
  store: ImageStore,
  left: StoredImage,
  right: StoredImage,
  signal?: AbortSignal,
): Promise<ImageDiff> {
  const before = left.config.doppel.disks;
  const after = right.config.doppel.disks;
  const matches = matchDisks(
    identifyDisks(before, left.config.doppel.facts),
    identifyDisks(after, right.config.doppel.facts),
  );
  const disks: DiskDiff[] = [];
  for (const [index, disk] of after.entries()) {
    const other = matches[index] ?? -1;
    const old = before[other];
    if (!old) disks.push(alone(disk, "added"));
    else disks.push(await diffDisk(store, [left, other, old], [right, index, disk], signal));
  }
  for (const [index, disk] of before.entries())
    if (!matches.includes(index)) disks.push(alone(disk, "removed"));
  const changedBytes = disks.reduce((sum, disk) => sum + disk.changedBytes, 0);
  return { left: left.digest, right: right.digest, changedBytes, disks };
}

async function diffDisk(
  store: ImageStore,
  [left, leftIndex, old]: [StoredImage, number, Disk],
  [right, rightIndex, disk]: [StoredImage, number, Disk],
  signal: AbortSignal | undefined,
): Promise<DiskDiff> {
  await using before = await store.openDisk(left, leftIndex);
  await using after = await store.openDisk(right, rightIndex);
  const tally = new RegionTally(disk.regions);
  let changedBytes = 0;
  for await (const run of diffDisks(before, after)) {
    signal?.throwIfAborted();
    tally.add(run);
    changedBytes += run.count * CLUSTER_BYTES;
  }
  const state = changedBytes > 0 || old.sizeBytes !== disk.sizeBytes ? "changed" : "same";
  const sizeBytes: DiskDiff["sizeBytes"] = [old.sizeBytes, disk.sizeBytes];
  return { name: disk.name, state, sizeBytes, changedBytes, regions: tally.changed() };
}

function alone(disk: Disk, state: "added" | "removed"): DiskDiff {
  const sizeBytes: DiskDiff["sizeBytes"] =
    state === "added" ? [null, disk.sizeBytes] : [disk.sizeBytes, null];
  return { name: disk.name, state, sizeBytes, changedBytes: disk.dataBytes, regions: [] };
}

/** Adds ascending runs of clusters up by the regions that they lie in; a cluster on a border counts for both. */
class RegionTally {
  readonly #regions: { region: Region; changedBytes: number }[];

  constructor(regions: readonly Region[]) {
    this.#regions = regions.map((region) => ({ region, changedBytes: 0 }));
  }

  add({ firstCluster, count }: ClusterRun): void {
    const start = firstCluster * CLUSTER_BYTES;
    const end = start + count * CLUSTER_BYTES;
    for (const entry of this.#regions) {
      const { offsetBytes, lengthBytes } = entry.region;
      entry.changedBytes += Math.max(
        Math.min(end, offsetBytes + lengthBytes) - Math.max(start, offsetBytes),
        0,
      );
    }
  }

  changed(): RegionDiff[] {
    return this.#regions
      .filter(({ changedBytes }) => changedBytes > 0)
      .map(({ region, changedBytes }) => ({
        kind: region.kind,
        path: region.path ?? null,
        mountpoint: region.mountpoint ?? null,
        offsetBytes: region.offsetBytes,
        lengthBytes: region.lengthBytes,
        changedBytes,
      }));
  }
}
