import { once } from "node:events";
import { type Header, type Pack, pack } from "tar-stream";
import { CLUSTER_BYTES } from "../image/cluster.ts";
import type { DiskReader } from "../image/disk-reader.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import { paddedBytes, TAR_BLOCK_BYTES } from "./ova/tar-header.ts";
import type { Qcow2Layout } from "./qcow2/layout.ts";
import { streamQcow2 } from "./qcow2/stream.ts";

/** KubeVirt's container disks (its docs/container-register-disks.md): the user that QEMU runs as in a cluster. */
const QEMU_USER = 107;
const OWNER: Partial<Header> = { uid: QEMU_USER, gid: QEMU_USER, mtime: new Date(0) };
const LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar";

/** What the manifest tells about where a container disk comes from. */
const FROM_IMAGE = "org.doppel.image";
const FROM_DISK = "org.doppel.disk";

/** Where a disk lies in its container image: the only file of the folder, named as the image. */
export function diskPath(imageName: string): string {
  return `disk/${imageName.split("/").at(-1)}.qcow2`;
}

/** Bytes of the layer, known before its first one: two headers, the file, two blocks that end the tar. */
export function layerBytes(layout: Qcow2Layout): number {
  return 4 * TAR_BLOCK_BYTES + paddedBytes(layout.fileClusters * CLUSTER_BYTES);
}

/** The layer's tar in one pass, in pieces that the receiver may keep: the folder, and the disk as qcow2. */
export async function* streamLayer(
  disk: DiskReader,
  layout: Qcow2Layout,
  path: string,
): AsyncGenerator<Buffer, void> {
  const tar = pack();
  const stop = new AbortController();
  const filling = fill(tar, disk, layout, path, stop.signal).catch((error: unknown) => {
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  try {
    for await (const piece of tar) yield piece as Buffer;
  } finally {
    stop.abort();
    await filling;
  }
}

async function fill(
  tar: Pack,
  disk: DiskReader,
  layout: Qcow2Layout,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  tar.entry({ ...OWNER, name: "disk/", type: "directory", mode: 0o555 });
  const size = layout.fileClusters * CLUSTER_BYTES;
  const entry = tar.entry({ ...OWNER, name: path, type: "file", mode: 0o440, size });
  for await (const piece of streamQcow2(disk, layout)) {
    signal.throwIfAborted();
    if (!entry.write(piece)) await once(entry, "drain", { signal });
  }
  entry.end(undefined);
  tar.finalize();
}

export interface ContainerDisk {
  /** Digest of the image, and name of its disk, that it was made of. */
  image: string;
  disk: string;
  architecture: string;
  created: string;
  layer: { digest: string; sizeBytes: number };
}

/** Config of the container image: its layer is not compressed, so that the layer's digest is its diff_id too. */
export function containerConfig({ architecture, created, layer, image, disk }: ContainerDisk): Buffer {
  return Buffer.from(
    JSON.stringify({
      created,
      architecture,
      // Of containers, whatever runs on the disk.
      os: "linux",
      config: { Labels: { [FROM_IMAGE]: image, [FROM_DISK]: disk } },
      rootfs: { type: "layers", diff_ids: [layer.digest] },
      history: [{ created, created_by: "doppel push --as containerdisk" }],
    }),
  );
}

export function containerManifest(
  { layer, image, disk, created }: ContainerDisk,
  config: { digest: string; sizeBytes: number },
): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.manifest,
      config: { mediaType: MEDIA_TYPES.config, digest: config.digest, size: config.sizeBytes },
      layers: [{ mediaType: LAYER_TYPE, digest: layer.digest, size: layer.sizeBytes }],
      annotations: {
        "org.opencontainers.image.created": created,
        [FROM_IMAGE]: image,
        [FROM_DISK]: disk,
      },
    }),
  );
}
