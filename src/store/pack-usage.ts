import { DiskMap } from "../image/disk-map.ts";
import type { ImageStore } from "./image-store.ts";

/** Which frames of a pack some image uses. Memory: a bit a frame. */
export class UsedFrames {
  readonly frameCount: number;
  /** Digests of the images that use the pack. */
  readonly images = new Set<string>();
  readonly #bits: Uint8Array;

  constructor(frameCount: number) {
    this.frameCount = frameCount;
    this.#bits = new Uint8Array(Math.ceil(frameCount / 8));
  }

  add(firstFrame: number, count: number): void {
    for (let frame = firstFrame; frame < firstFrame + count; frame++)
      this.#bits[frame >> 3] = (this.#bits[frame >> 3] ?? 0) | (1 << (frame & 7));
  }

  has(frame: number): boolean {
    return ((this.#bits[frame >> 3] ?? 0) & (1 << (frame & 7))) !== 0;
  }

  get liveFrames(): number {
    let live = 0;
    for (let frame = 0; frame < this.frameCount; frame++) if (this.has(frame)) live++;
    return live;
  }

  /** The runs of used frames, ascending, none longer than `most`. */
  *runs(most: number): Generator<{ firstFrame: number; count: number }> {
    for (let frame = 0; frame < this.frameCount; frame++) {
      if (!this.has(frame)) continue;
      const firstFrame = frame;
      while (frame + 1 - firstFrame < most && frame + 1 < this.frameCount && this.has(frame + 1)) frame++;
      yield { firstFrame, count: frame + 1 - firstFrame };
    }
  }
}

/** Which frames of which packs the maps of these images use. */
export async function readPackUsage(
  store: ImageStore,
  digests: readonly string[],
  signal?: AbortSignal,
): Promise<Map<string, UsedFrames>> {
  const usage = new Map<string, UsedFrames>();
  for (const digest of digests) {
    const image = await store.load(digest);
    for (const disk of image.config.doppel.disks) {
      await using blob = await store.blobs.openBlob(disk.map);
      const map = await DiskMap.open(blob, disk.map);
      const used = map.packs.map((pack) => {
        const known = usage.get(pack.digest) ?? new UsedFrames(pack.frameCount);
        usage.set(pack.digest, known);
        known.images.add(digest);
        return known;
      });
      for await (const batch of map.extents()) {
        signal?.throwIfAborted();
        for (const extent of batch) used[extent.pack]?.add(extent.firstFrame, extent.count);
      }
    }
  }
  return usage;
}
