import assert from "node:assert";
import { clusterCount } from "../image/cluster.ts";
import type { MapPack } from "../image/disk-map.ts";
import { encodePackTrailer, FRAME_ENTRY_BYTES } from "../image/pack.ts";

/** A blob being written: src/store has the real one. `append` may keep the buffer only until it resolves. */
export interface BlobSink {
  append(bytes: Buffer): Promise<void>;
  commit(): Promise<{ digest: string; sizeBytes: number }>;
  abort(): Promise<void>;
}

/** Where frames came to lie: in pack `pack` (counted from 0 over the whole image), from frame `firstFrame`. */
export interface Placement {
  pack: number;
  firstFrame: number;
}

const SMALLEST_PACK_BYTES = 64 * 1024 * 1024;
const FRAMES_A_SMALLEST_PACK = 65_536;
const MOST_PACKS = 8192;

/**
 * Bytes at which packs of an image are closed: 64 MiB, doubled until `usedBytes` fit in 8,192 packs even when
 * nothing compresses, because a manifest must stay below 4 MiB.
 */
export function packSizeFor(usedBytes: number): number {
  let packBytes = SMALLEST_PACK_BYTES;
  while (clusterCount(usedBytes) * 65_600 > packBytes * MOST_PACKS) packBytes *= 2;
  return packBytes;
}

/** Lays frames one after another into packs. Memory: the index of the one open pack. */
export class PackWriter {
  readonly #createBlob: () => Promise<BlobSink>;
  readonly #packBytes: number;
  readonly #maxFrames: number;
  readonly #finished: MapPack[] = [];
  #open: { blob: BlobSink; entries: Buffer[]; frames: number; bytes: number } | undefined;
  #storedBytes = 0;

  constructor(createBlob: () => Promise<BlobSink>, packBytes: number) {
    this.#createBlob = createBlob;
    this.#packBytes = packBytes;
    this.#maxFrames = FRAMES_A_SMALLEST_PACK * (packBytes / SMALLEST_PACK_BYTES);
  }

  /** Bytes of all frames taken so far. */
  get storedBytes(): number {
    return this.#storedBytes;
  }

  /** Appends frames that stay together in one pack. `table` has 20 bytes a frame (docs/image-format.md, Pack). */
  async append(table: Buffer, frames: Buffer): Promise<Placement> {
    const frameCount = table.length / FRAME_ENTRY_BYTES;
    assert(Number.isInteger(frameCount) && frameCount > 0);
    if (this.#open && this.#isFull(this.#open, frameCount, frames.length)) await this.#close();
    this.#open ??= { blob: await this.#createBlob(), entries: [], frames: 0, bytes: 0 };
    const open = this.#open;
    await open.blob.append(frames);
    const placement = { pack: this.#finished.length, firstFrame: open.frames };
    open.entries.push(Buffer.from(table));
    open.frames += frameCount;
    open.bytes += frames.length;
    this.#storedBytes += frames.length;
    return placement;
  }

  /** Closes the last pack and returns all of them, in order. */
  async finish(): Promise<readonly MapPack[]> {
    await this.#close();
    return this.#finished;
  }

  /** Drops the open pack; those that are committed already are left to garbage collection. */
  async abort(): Promise<void> {
    await this.#open?.blob.abort();
    this.#open = undefined;
  }

  #isFull(open: { frames: number; bytes: number }, moreFrames: number, moreBytes: number): boolean {
    return open.bytes + moreBytes > this.#packBytes || open.frames + moreFrames > this.#maxFrames;
  }

  async #close(): Promise<void> {
    const open = this.#open;
    if (!open) return;
    await open.blob.append(encodePackTrailer(Buffer.concat(open.entries), open.bytes));
    const { digest, sizeBytes } = await open.blob.commit();
    this.#open = undefined;
    this.#finished.push({ digest, sizeBytes, frameCount: open.frames });
  }
}
