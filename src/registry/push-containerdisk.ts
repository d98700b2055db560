import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { z } from "zod";
import {
  type ContainerDisk,
  containerConfig,
  containerManifest,
  diskPath,
  layerBytes,
  streamLayer,
} from "../format/containerdisk.ts";
import { planQcow2, type Qcow2Layout } from "../format/qcow2/layout.ts";
import { verifyPacks } from "../format/verify-packs.ts";
import type { DiskReader } from "../image/disk-reader.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import { parseJson } from "../parse-json.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import type { TransferProgress } from "./push.ts";
import { digestOf, type Repository } from "./repository.ts";
import { uploadBlob } from "./upload.ts";

export interface ContainerDiskOptions {
  tag: string;
  /** The image's name here, of which the file in the container is called. */
  name: string;
  /** Which disk of the image, counted from 0. */
  disk: number;
  onProgress?: (progress: TransferProgress) => void;
}

export interface ContainerDiskReport {
  /** Of the container image's manifest. */
  digest: string;
  /** The disk's path in the container. */
  path: string;
  totalBytes: number;
  sentBytes: number;
}

/**
 * Sends one disk of an image as a container disk for KubeVirt. The layer is made while it is sent: nothing is written here.
 * Nothing is sent when the tag is this disk of this image already. Throws `pack-corrupt` when a pack is not what its digest
 * says; the tag is not set then.
 */
export async function pushContainerDisk(
  store: ImageStore,
  image: StoredImage,
  repository: Repository,
  options: ContainerDiskOptions,
): Promise<ContainerDiskReport> {
  await using disk = await store.openDisk(image, options.disk);
  const layout = await planQcow2(disk);
  const path = diskPath(options.name);
  const report = { path, totalBytes: layerBytes(layout), sentBytes: 0 };
  const known = {
    image: image.digest,
    disk: image.config.doppel.disks[options.disk]?.name ?? "",
    architecture: image.config.architecture,
    created: image.config.created,
  };
  const there = await findThere(repository, options.tag, known, report.totalBytes);
  if (there) return { ...report, digest: there };
  const layerDigest = await sendVerified(store, disk, repository.signal, (health) =>
    sendLayer(store, image, repository, layout, { ...options, path, report, health }),
  );
  const made = { ...known, layer: { digest: layerDigest, sizeBytes: report.totalBytes } };
  return { ...report, digest: await sendManifest(repository, options.tag, made) };
}

/** Has a failure once the packs turned out to be damaged. */
interface Health {
  failure?: unknown;
}

/** Compares the disk's packs with their digests beside sending; throws when they differ, also when all was sent. */
async function sendVerified(
  store: ImageStore,
  disk: DiskReader,
  interrupt: AbortSignal | undefined,
  send: (health: Health) => Promise<string>,
): Promise<string> {
  const failed = new AbortController();
  const signal = AbortSignal.any(interrupt ? [failed.signal, interrupt] : [failed.signal]);
  const health: Health = {};
  const openPack = (digest: string) => store.blobs.openBlob(digest);
  const verifying = verifyPacks([disk], openPack, signal).catch((failure: unknown) => {
    health.failure = failure;
  });
  try {
    const digest = await send(health);
    await verifying;
    if (health.failure) throw health.failure;
    return digest;
  } finally {
    failed.abort();
    await verifying;
  }
}

async function sendLayer(
  store: ImageStore,
  image: StoredImage,
  repository: Repository,
  layout: Qcow2Layout,
  options: ContainerDiskOptions & {
    path: string;
    report: Omit<ContainerDiskReport, "digest">;
    health: Health;
  },
): Promise<string> {
  const { path, report, health, onProgress } = options;
  let digest: string | undefined;
  async function* bytesFrom(offsetBytes: number): AsyncGenerator<Buffer, void> {
    // Each attempt reads for itself: one that was cut may still be busy.
    await using disk = await store.openDisk(image, options.disk);
    const hash = createHash("sha256");
    let at = 0;
    for await (const piece of streamLayer(disk, layout, path)) {
      if (health.failure) throw health.failure;
      hash.update(piece);
      const unsent = piece.subarray(Math.max(0, Math.min(piece.length, offsetBytes - at)));
      at += piece.length;
      if (at === report.totalBytes) digest = `sha256:${hash.digest("hex")}`;
      if (unsent.length > 0) yield unsent;
    }
  }
  await uploadBlob(repository, {
    sizeBytes: report.totalBytes,
    digest: () => digest,
    name: path,
    open: (offsetBytes) => Readable.from(bytesFrom(offsetBytes), { objectMode: false }),
    onSent: (bytes) => {
      report.sentBytes += bytes;
      const doneBytes = report.sentBytes;
      onProgress?.({ doneBytes, totalBytes: report.totalBytes, movedBytes: doneBytes });
    },
  });
  return digest ?? "";
}

async function sendManifest(repository: Repository, tag: string, disk: ContainerDisk): Promise<string> {
  const config = containerConfig(disk);
  const digest = digestOf(config);
  await uploadBlob(repository, {
    sizeBytes: config.length,
    digest: () => digest,
    name: "the config",
    open: (offsetBytes) => Readable.from([config.subarray(offsetBytes)]),
  });
  const manifest = containerManifest(disk, { digest, sizeBytes: config.length });
  await repository.putManifest(tag, manifest, MEDIA_TYPES.manifest);
  return digestOf(manifest);
}

const descriptorSchema = z.looseObject({ digest: z.string(), size: z.number() });
const manifestSchema = z.looseObject({ layers: z.tuple([descriptorSchema]) });

/** The digest of what the tag is, when it is exactly what would be sent and its layer is there. */
async function findThere(
  repository: Repository,
  tag: string,
  known: Omit<ContainerDisk, "layer">,
  sizeBytes: number,
): Promise<string | undefined> {
  const found = await repository.manifest(tag);
  const parsed = manifestSchema.safeParse(found && parseJson(found.bytes.toString("utf8")));
  if (!found || !parsed.success) return undefined;
  const [layer] = parsed.data.layers;
  const config = containerConfig({ ...known, layer: { digest: layer.digest, sizeBytes } });
  const expected = containerManifest(
    { ...known, layer: { digest: layer.digest, sizeBytes } },
    { digest: digestOf(config), sizeBytes: config.length },
  );
  if (!expected.equals(found.bytes)) return undefined;
  return (await repository.blobSize(layer.digest)) === sizeBytes ? found.digest : undefined;
}
