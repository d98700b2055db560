import { CLUSTER_BYTES } from "../image/cluster.ts";
import type { ClusterReader } from "../image/cluster-reader.ts";
import { buildImageConfig, type ConversionRecord, type DoppelConfig } from "../image/config.ts";
import type { DiskReader } from "../image/disk-reader.ts";
import type { Reference } from "../image/reference.ts";
import { type ChildDisk, ChildWriter, type ClusterChange } from "./child-writer.ts";
import type { ImageStore, StoredImage } from "./image-store.ts";

/** One disk of the parent, opened, and what became of it. */
export interface ChangedDisk {
  disk: DiskReader;
  reader: ClusterReader;
  changes(): AsyncIterable<ClusterChange>;
}

export interface SealedChild {
  image: StoredImage;
  /** Bytes of the clusters that differ from the parent. */
  changedBytes: number;
}

/**
 * Seals changed disks as a child of `parent` and names it. `disks` are all of the parent's, in order. The parent is not
 * touched; the child reads its packs.
 */
export async function sealChild(
  store: ImageStore,
  parent: StoredImage,
  reference: Reference,
  options: {
    kind: DoppelConfig["lineage"]["kind"];
    disks: readonly ChangedDisk[];
    conversion?: ConversionRecord | undefined;
  },
): Promise<SealedChild> {
  const maps = options.disks.map(({ disk }) => disk.map);
  await using writer = new ChildWriter(() => store.createBlob(), maps);
  for (const { disk, reader, changes } of options.disks) await writer.addDisk(disk.map, reader, changes());
  const { disks, packs } = await writer.finish();
  const { doppel } = parent.config;
  const config = buildImageConfig(
    {
      ...doppel,
      disks: doppel.disks.map((disk, index) => childDisk(disk, disks[index])),
      lineage: { kind: options.kind, parent: parent.digest },
      ...(options.conversion ? { conversion: options.conversion } : {}),
    },
    { architecture: parent.config.architecture, created: new Date().toISOString() },
  );
  const firmwareVariables = parent.manifest.layers.find(({ digest }) => digest === doppel.firmwareVariables);
  const image = await store.commitImage(reference, {
    config,
    maps: disks.map(({ map }) => map),
    firmwareVariables,
    packs,
  });
  const changed = disks.flatMap((disk) => disk.changed);
  return { image, changedBytes: changed.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0) };
}

function childDisk(disk: DoppelConfig["disks"][number], child: ChildDisk | undefined) {
  if (!child) throw new Error("a child has as many disks as its parent");
  const rewritten = (cluster: number) =>
    child.changed.some(
      ({ offsetBytes, lengthBytes }) =>
        cluster * CLUSTER_BYTES >= offsetBytes && cluster * CLUSTER_BYTES < offsetBytes + lengthBytes,
    );
  return {
    ...disk,
    map: child.map.digest,
    dataBytes: child.dataBytes,
    changed: child.changed,
    readErrors: disk.readErrors.filter(({ cluster }) => !rewritten(cluster)),
  };
}
