import { buildImageConfig } from "../../../src/image/config.ts";
import { DiskMapEncoder } from "../../../src/image/disk-map.ts";
import { MEDIA_TYPES } from "../../../src/image/manifest.ts";
import { parseReference } from "../../../src/image/reference.ts";
import type { ImageStore, StoredImage } from "../../../src/store/image-store.ts";

/** An image of one empty disk. */
export async function seal(
  store: ImageStore,
  name: string,
  diskBytes = 65_536,
  parent: string | null = null,
): Promise<StoredImage> {
  const encoder = new DiskMapEncoder(diskBytes);
  const map = await store.blobs.put(Buffer.concat([encoder.header(), encoder.finish([])]));
  const created = "2026-01-02T03:04:05.000Z";
  const config = buildImageConfig(
    {
      version: 1,
      grade: "offline",
      host: name,
      facts: {},
      disks: [
        {
          ...{ name: "sda", device: "/dev/sda", sizeBytes: diskBytes, logicalSectorBytes: 512 },
          ...{ map: map.digest, dataBytes: 0, regions: [], readErrors: [] },
        },
      ],
      lineage: { kind: "capture", parent },
    },
    { architecture: "amd64", created },
  );
  const maps = [{ mediaType: MEDIA_TYPES.diskMap, digest: map.digest, size: map.sizeBytes }];
  return await store.commitImage(parseReference(name), { config, maps, packs: [] });
}
