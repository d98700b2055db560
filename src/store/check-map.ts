import { DoppelError } from "../errors.ts";
import type { ImageConfig } from "../image/config.ts";
import { DiskMap, type MapPack } from "../image/disk-map.ts";
import type { OpenBlob } from "../image/disk-reader.ts";
import type { Manifest } from "../image/manifest.ts";

/**
 * Reads a disk's map whole: it must open, have its extents in order, and agree with the config about the disk's size and
 * with the manifest about the packs. Returns its packs. Throws `map-corrupt`.
 */
export async function checkDiskMap(
  blobs: { openBlob(digest: string): Promise<OpenBlob> },
  manifest: Manifest,
  disk: ImageConfig["doppel"]["disks"][number],
  signal?: AbortSignal,
): Promise<readonly MapPack[]> {
  const layers = new Set(manifest.layers.map((layer) => layer.digest));
  await using blob = await blobs.openBlob(disk.map);
  const map = await DiskMap.open(blob, disk.map);
  for await (const _batch of map.extents()) signal?.throwIfAborted();
  const foreign = map.packs.find((pack) => !layers.has(pack.digest));
  if (foreign)
    throw new DoppelError("map-corrupt", `it uses pack ${foreign.digest}, which is no layer of the image`);
  if (map.diskBytes !== disk.sizeBytes)
    throw new DoppelError("map-corrupt", `it maps ${map.diskBytes} bytes, the disk has ${disk.sizeBytes}`);
  return map.packs;
}
