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
/** Closed packs whose bytes may still be on their way to the disk while the next one is filled. */
const MOST_CLOSING = 2;

/**
 * Bytes at which packs of an image are closed: 64 MiB, doubled until `usedBytes` fit in 8,192 packs even when
 * nothing compresses, because a manifest must stay below 4 MiB.
 */
export function packSizeFor(usedBytes: number): number {
  let packBytes = SMALLEST_PACK_BYTES;
  while (clusterCount(usedBytes) * 65_600 > packBytes * MOST_PACKS) packBytes *= 2;
  return packBytes;
}

/**
 * Lays frames one after another into packs. Memory: the index of the one open pack. A full pack is made durable while
 * the next one is filled, so that a slow fsync does not hold up the source.
 */
export class PackWriter {
  readonly #createBlob: () => Promise<BlobSink>;
  readonly #packBytes: number;
  readonly #maxFrames: number;
  readonly #packs: MapPack[] = [];
  readonly #closing = new Set<Promise<void>>();
  #opened = 0;
  #open: OpenPack | undefined;
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
    this.#open ??= {
      number: this.#opened++,
      blob: await this.#createBlob(),
      entries: [],
      frames: 0,
      bytes: 0,
    };
    const open = this.#open;
    await open.blob.append(frames);
    const placement = { pack: open.number, firstFrame: open.frames };
    open.entries.push(Buffer.from(table));
    open.frames += frameCount;
    open.bytes += frames.length;
    this.#storedBytes += frames.length;
    return placement;
  }

  /** Closes the last pack and returns all of them, in order. */
  async finish(): Promise<readonly MapPack[]> {
    await this.#close();
    await Promise.all(this.#closing);
    return this.#packs;
  }

  /** Drops the open pack; those that are committed already are left to garbage collection. */
  async abort(): Promise<void> {
    await this.#open?.blob.abort();
    this.#open = undefined;
    await Promise.allSettled(this.#closing);
  }

  #isFull(open: OpenPack, moreFrames: number, moreBytes: number): boolean {
    return open.bytes + moreBytes > this.#packBytes || open.frames + moreFrames > this.#maxFrames;
  }

  async #close(): Promise<void> {
    const open = this.#open;
    if (!open) return;
    this.#open = undefined;
    if (this.#closing.size >= MOST_CLOSING) await Promise.race(this.#closing);
    const closing = this.#commit(open).then(() => {
      this.#closing.delete(closing);
    });
    // A failure stays in the set: it is met by the next close, or by finish.
    closing.catch(() => {});
    this.#closing.add(closing);
  }

  async #commit(open: OpenPack): Promise<void> {
    try {
      await open.blob.append(encodePackTrailer(Buffer.concat(open.entries), open.bytes));
      const { digest, sizeBytes } = await open.blob.commit();
      this.#packs[open.number] = { digest, sizeBytes, frameCount: open.frames };
    } catch (error) {
      await open.blob.abort();
      throw error;
    }
  }
}

interface OpenPack {
  number: number;
  blob: BlobSink;
  entries: Buffer[];
  frames: number;
  bytes: number;
}
