import { createHash } from "node:crypto";
import { DoppelError } from "../errors.ts";
import { CLUSTER_BYTES } from "../image/cluster.ts";
import { DiskMap, type Extent } from "../image/disk-map.ts";
import { decodeFrame } from "../image/frame.ts";
import type { Descriptor } from "../image/manifest.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import { type PackIndex, readPackIndex } from "../image/pack.ts";
import { checkDiskMap } from "./check-map.ts";
import type { ImageStore, StoredImage } from "./image-store.ts";

export interface Finding {
  /** What is wrong, in one sentence. */
  message: string;
  blob: string;
  /** Frame number in the pack, where one frame is at fault. */
  frame?: number;
  /** The runs of clusters that it hurts, and where they are on their disks. */
  hurts: { disk: string; cluster: number; count: number; offsetBytes: number }[];
}

export interface VerifyReport {
  digest: string;
  blobs: number;
  frames: number;
  bytes: number;
  findings: Finding[];
  /** All findings, of which `findings` holds the first hundred. */
  findingCount: number;
}

export interface VerifyOptions {
  onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
  signal?: AbortSignal;
}

const MOST_FINDINGS = 100;
const MOST_HURTS = 100;
const CHUNK_BYTES = 4 * 1024 * 1024;

/** Reads every blob of an image, every frame, and compares every hash. Does not stop at the first difference. */
export async function verifyImage(
  store: ImageStore,
  image: StoredImage,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  return await new Verifier(store, image, options).run();
}

class Verifier {
  readonly #store: ImageStore;
  readonly #image: StoredImage;
  readonly #options: VerifyOptions;
  readonly #report: VerifyReport;
  readonly #totalBytes: number;

  constructor(store: ImageStore, image: StoredImage, options: VerifyOptions) {
    this.#store = store;
    this.#image = image;
    this.#options = options;
    this.#report = { digest: image.digest, blobs: 0, frames: 0, bytes: 0, findings: [], findingCount: 0 };
    this.#totalBytes = image.manifest.layers.reduce((sum, layer) => sum + layer.size, 0);
  }

  async run(): Promise<VerifyReport> {
    const { manifest, digest, manifestBytes } = this.#image;
    await this.#verifyDigest({ mediaType: MEDIA_TYPES.manifest, digest, size: manifestBytes });
    await this.#verifyDigest(manifest.config);
    for (const layer of manifest.layers) {
      if (layer.mediaType === MEDIA_TYPES.pack) await this.#verifyPack(layer);
      else await this.#verifyDigest(layer);
    }
    await this.#verifyMaps();
    return this.#report;
  }

  async #verifyDigest(blob: Descriptor): Promise<void> {
    await this.#attempt(blob.digest, async () => {
      const hash = createHash("sha256");
      await using source = await this.#store.blobs.openBlob(blob.digest);
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, source.sizeBytes));
      for (let at = 0; at < source.sizeBytes; at += buffer.length) {
        const piece = buffer.subarray(0, Math.min(buffer.length, source.sizeBytes - at));
        await source.read(piece, at);
        hash.update(piece);
        this.#advance(piece.length);
      }
      await this.#compareDigest(blob, source.sizeBytes, hash.digest("hex"));
    });
  }

  /** One pass over a pack: its digest over all bytes, and each frame against its hash. */
  async #verifyPack(blob: Descriptor): Promise<void> {
    await this.#attempt(blob.digest, async () => {
      await using source = await this.#store.blobs.openBlob(blob.digest);
      const hash = createHash("sha256");
      let index: PackIndex | undefined;
      const before = this.#report.findingCount;
      await this.#attempt(blob.digest, async () => {
        index = await readPackIndex(source, blob.digest);
      });
      let frame = 0;
      let at = 0;
      while (at < source.sizeBytes) {
        this.#options.signal?.throwIfAborted();
        const end = index && frame < index.frameCount ? framesEnd(index, frame) : at + CHUNK_BYTES;
        const bytes = Buffer.allocUnsafe(Math.min(end, source.sizeBytes) - at);
        await source.read(bytes, at);
        hash.update(bytes);
        if (index && frame < index.frameCount)
          frame = await this.#verifyFrames(blob.digest, index, frame, bytes, at);
        at += bytes.length;
        this.#advance(bytes.length);
      }
      // A frame that is at fault says more than the digest of the whole.
      if (this.#report.findingCount === before)
        await this.#compareDigest(blob, source.sizeBytes, hash.digest("hex"));
    });
  }

  async #verifyFrames(
    pack: string,
    index: PackIndex,
    first: number,
    bytes: Buffer,
    base: number,
  ): Promise<number> {
    let frame = first;
    for (; frame < index.frameCount && index.offsetOf(frame) - base < bytes.length; frame++) {
      const start = index.offsetOf(frame) - base;
      const decoded = decodeFrame(bytes.subarray(start, start + index.lengthOf(frame)), index.hashOf(frame));
      this.#report.frames++;
      if (typeof decoded !== "string") continue;
      const hurts = await this.#clustersOf(pack, frame);
      this.#find({ message: `frame ${frame} is corrupt: ${decoded}`, blob: pack, frame, hurts });
    }
    return frame;
  }

  async #verifyMaps(): Promise<void> {
    const { manifest, config } = this.#image;
    for (const disk of config.doppel.disks)
      await this.#attempt(disk.map, () =>
        checkDiskMap(this.#store.blobs, manifest, disk, this.#options.signal),
      );
  }

  /** Where on the disks a frame is used, or, without a frame, any of the pack. */
  async #clustersOf(pack: string, frame?: number): Promise<Finding["hurts"]> {
    const hurts: Finding["hurts"] = [];
    for (const disk of this.#image.config.doppel.disks) {
      await using blob = await this.#store.blobs.openBlob(disk.map);
      const map = await DiskMap.open(blob, disk.map).catch(() => undefined);
      const number = map?.packs.findIndex((known) => known.digest === pack) ?? -1;
      if (!map || number < 0) continue;
      for await (const batch of map.extents()) {
        for (const extent of batch) {
          const run = runOf(extent, number, frame);
          if (run === undefined || hurts.length >= MOST_HURTS) continue;
          hurts.push({ disk: disk.name, ...run, offsetBytes: run.cluster * CLUSTER_BYTES });
        }
      }
    }
    return hurts;
  }

  async #compareDigest(blob: Descriptor, sizeBytes: number, hex: string): Promise<void> {
    this.#report.blobs++;
    if (sizeBytes !== blob.size) {
      this.#find({
        message: `has ${sizeBytes} bytes, the manifest says ${blob.size}`,
        blob: blob.digest,
        hurts: [],
      });
    } else if (`sha256:${hex}` !== blob.digest) {
      const hurts = await this.#clustersOf(blob.digest);
      this.#find({ message: "its bytes do not match its digest", blob: blob.digest, hurts });
    }
  }

  /** Turns a failure into a finding, so that the rest is looked at as well. */
  async #attempt(blob: string, check: () => Promise<void>): Promise<void> {
    this.#options.signal?.throwIfAborted();
    try {
      await check();
    } catch (error) {
      if (!(error instanceof DoppelError) || error.code === "interrupted") throw error;
      this.#find({ message: error.message, blob, hurts: await this.#clustersOf(blob).catch(() => []) });
    }
  }

  #find(finding: Finding): void {
    this.#report.findingCount++;
    if (this.#report.findings.length < MOST_FINDINGS) this.#report.findings.push(finding);
  }

  #advance(bytes: number): void {
    this.#report.bytes += bytes;
    this.#options.onProgress?.({
      doneBytes: Math.min(this.#report.bytes, this.#totalBytes),
      totalBytes: this.#totalBytes,
    });
  }
}

/** Offset at which a piece of about 4 MiB that starts with `frame` ends: always at the end of a frame. */
function framesEnd(index: PackIndex, frame: number): number {
  const start = index.offsetOf(frame);
  let end = frame + 1;
  while (end < index.frameCount && index.offsetOf(end) - start < CHUNK_BYTES) end++;
  return index.offsetOf(end);
}

/** The clusters of an extent that are `frame` of pack `pack`, or, without a frame, all of them. */
function runOf(extent: Extent, pack: number, frame?: number): { cluster: number; count: number } | undefined {
  if (extent.pack !== pack) return undefined;
  if (frame === undefined) return { cluster: extent.firstCluster, count: extent.count };
  const inside = frame >= extent.firstFrame && frame < extent.firstFrame + extent.count;
  return inside ? { cluster: extent.firstCluster + frame - extent.firstFrame, count: 1 } : undefined;
}
