import { DoppelError } from "../errors.ts";
import { CLUSTER_BYTES, clusterCount } from "../image/cluster.ts";
import type { ImageConfig } from "../image/config.ts";
import { DiskMap, type Extent } from "../image/disk-map.ts";
import type { Manifest } from "../image/manifest.ts";
import type { BlobSource } from "./blob-source.ts";

/** An image that has a bad blob. */
export interface HurtImage {
  digest: string;
  /** Every `name:tag` that it has here. */
  names: string[];
}

/** A run of clusters whose content is bad. */
export interface Hurt {
  image: string;
  disk: string;
  cluster: number;
  count: number;
  offsetBytes: number;
}

export interface Damage {
  images: HurtImage[];
  /** Of each bad frame its clusters; of a blob that is bad as a whole all of them, under no frame. */
  hurts: (Hurt & { frame?: number })[];
}

/** What is known of an image that may be hurt: one whose manifest or config cannot be read has none. */
export interface Candidate extends HurtImage {
  manifest?: Manifest | undefined;
  config?: ImageConfig | undefined;
  /** Blobs of what is attached to it. */
  attached: readonly string[];
}

/** Bad blobs by digest: the frames that are bad, or undefined where nothing of the blob can be relied on. */
export type BadBlobs = ReadonlyMap<string, ReadonlySet<number> | undefined>;

type AddHurt = (blob: string, run: { cluster: number; count: number }, frame?: number) => void;

/** Of one bad blob no more clusters are listed. */
const MOST_HURTS = 1000;

/** Adds to `found` how an image is hurt by bad blobs: reads its maps when it has one of them, and nothing else. */
export async function addDamage(
  source: BlobSource,
  candidate: Candidate,
  bad: BadBlobs,
  found: Map<string, Damage>,
): Promise<void> {
  const { digest, names, manifest, config, attached } = candidate;
  const named = manifest ? [manifest.config, ...manifest.layers].map((blob) => blob.digest) : [];
  const blobs = [digest, ...named, ...attached];
  const own = new Set(blobs.filter((blob) => bad.has(blob)));
  if (own.size === 0) return;
  for (const blob of own) {
    const damage = found.get(blob) ?? { images: [], hurts: [] };
    damage.images.push({ digest, names });
    found.set(blob, damage);
  }
  for (const disk of config?.doppel.disks ?? []) {
    const add: AddHurt = (blob, run, frame) => {
      const damage = found.get(blob);
      if (!damage || damage.hurts.length >= MOST_HURTS) return;
      const place = { image: digest, disk: disk.name, ...run, offsetBytes: run.cluster * CLUSTER_BYTES };
      damage.hurts.push(frame === undefined ? place : { ...place, frame });
    };
    if (own.has(disk.map)) add(disk.map, { cluster: 0, count: clusterCount(disk.sizeBytes) });
    else await addOfMap(source, manifest, disk.map, bad, add);
  }
}

async function addOfMap(
  source: BlobSource,
  manifest: Manifest | undefined,
  digest: string,
  bad: BadBlobs,
  add: AddHurt,
): Promise<void> {
  const layer = manifest?.layers.find((each) => each.digest === digest);
  // A map that cannot be read is a finding of its own.
  const blob = layer && (await source.openBlob(layer).catch(() => undefined));
  if (!blob) return;
  await using _blob = blob;
  try {
    const map = await DiskMap.open(blob, digest);
    if (!map.packs.some((pack) => bad.has(pack.digest))) return;
    for await (const extents of map.extents())
      for (const extent of extents) addOfExtent(extent, map.packs[extent.pack]?.digest ?? "", bad, add);
  } catch (error) {
    if (!(error instanceof DoppelError)) throw error;
  }
}

function addOfExtent(extent: Extent, pack: string, bad: BadBlobs, add: AddHurt): void {
  if (!bad.has(pack)) return;
  const frames = bad.get(pack);
  if (!frames) add(pack, { cluster: extent.firstCluster, count: extent.count });
  for (const frame of frames ?? [])
    if (holds(extent, frame)) add(pack, { cluster: clusterOf(extent, frame), count: 1 }, frame);
}

function holds({ firstFrame, count }: Extent, frame: number): boolean {
  return frame >= firstFrame && frame < firstFrame + count;
}

function clusterOf({ firstCluster, firstFrame }: Extent, frame: number): number {
  return firstCluster + frame - firstFrame;
}
