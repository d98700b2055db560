import { DoppelError } from "../errors.ts";
import type { ByteSource } from "./byte-source.ts";
import type { DiskMap, MapPack } from "./disk-map.ts";
import { decodeFrame } from "./frame.ts";
import { type PackIndex, readPackIndex } from "./pack.ts";

/** A byte source that holds something open. */
export interface OpenBlob extends ByteSource, AsyncDisposable {}

export interface OpenPack {
  index: PackIndex;
  source: ByteSource;
}

/** Memory of a pack index is 28 bytes a frame; this many are kept, beside those in use. */
const OPEN_PACKS = 16;

/** One disk of an image, opened for reading: its map, and its packs on demand, the least recent closed again. */
export class DiskReader implements AsyncDisposable {
  readonly map: DiskMap;
  readonly #openBlob: (digest: string) => Promise<OpenBlob>;
  readonly #mapBlob: AsyncDisposable | undefined;
  readonly #open = new Map<number, { blob: OpenBlob; index: PackIndex }>();

  /** Takes over `mapBlob`, what `map` reads from, and closes it in the end. */
  constructor(map: DiskMap, openBlob: (digest: string) => Promise<OpenBlob>, mapBlob?: AsyncDisposable) {
    this.map = map;
    this.#openBlob = openBlob;
    this.#mapBlob = mapBlob;
  }

  get diskBytes(): number {
    return this.map.diskBytes;
  }

  /**
   * Opens pack `number` of the map's pack table; valid until the next call of `pack`.
   * Fails with `pack-corrupt` when the blob is not the pack that the map describes.
   */
  async pack(number: number): Promise<OpenPack> {
    const kept = this.#open.get(number);
    if (kept) {
      this.#open.delete(number);
      this.#open.set(number, kept);
      return { index: kept.index, source: kept.blob };
    }
    const expected = this.map.packs[number];
    if (!expected) throw new RangeError(`the map has ${this.map.packs.length} packs, no pack ${number}`);
    await this.#closeOldest();
    const blob = await this.#openBlob(expected.digest);
    try {
      const index = await readPackIndex(blob, expected.digest);
      checkPack(expected, { sizeBytes: blob.sizeBytes, frameCount: index.frameCount });
      this.#open.set(number, { blob, index });
      return { index, source: blob };
    } catch (error) {
      await blob[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * The cluster that a frame of pack `pack` holds, 65,536 bytes. Throws `frame-corrupt` naming pack, frame and cluster.
   */
  decode(pack: number, index: PackIndex, frame: number, cluster: number, bytes: Buffer): Buffer {
    const decoded = decodeFrame(bytes, index.hashOf(frame));
    if (typeof decoded !== "string") return decoded;
    const digest = this.map.packs[pack]?.digest ?? String(pack);
    throw new DoppelError(
      "frame-corrupt",
      `cluster ${cluster} (frame ${frame} of pack ${digest}) is corrupt: ${decoded}`,
      {
        hint: "run 'doppel images verify' on the image to see all that is hurt",
        details: { cluster, frame, pack: digest },
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(open.map(({ blob }) => blob[Symbol.asyncDispose]()));
    await this.#mapBlob?.[Symbol.asyncDispose]();
  }

  async #closeOldest(): Promise<void> {
    if (this.#open.size < OPEN_PACKS) return;
    for (const [number, { blob }] of this.#open) {
      this.#open.delete(number);
      await blob[Symbol.asyncDispose]();
      return;
    }
  }
}

/** Compares a pack with what a disk map says of it. Throws `pack-corrupt`. */
export function checkPack(expected: MapPack, found: Omit<MapPack, "digest">): void {
  if (found.sizeBytes === expected.sizeBytes && found.frameCount === expected.frameCount) return;
  throw new DoppelError(
    "pack-corrupt",
    `pack ${expected.digest} has ${found.sizeBytes} bytes and ${found.frameCount} frames, ` +
      `its disk map says ${expected.sizeBytes} and ${expected.frameCount}`,
    { hint: "run 'doppel images verify' on the image to see what it hurts" },
  );
}
