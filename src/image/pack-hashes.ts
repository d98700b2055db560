import { readRange } from "./byte-source.ts";
import { HASH_BYTES } from "./cluster.ts";
import type { MapPack } from "./disk-map.ts";
import { checkPack, type OpenBlob } from "./disk-reader.ts";
import { FRAME_ENTRY_BYTES, packCorrupt, readPackFooter } from "./pack.ts";

const ENTRIES_A_READ = 4096;

/** Consecutive clusters with the first 16 bytes of the SHA-256 of each. */
export interface HashRun {
  firstCluster: number;
  hashes: Buffer;
}

/** Reads hashes out of a pack's index piece by piece: it is never in memory whole. */
export class PackHashes implements AsyncDisposable {
  readonly #blob: OpenBlob;
  readonly #expected: MapPack;
  readonly #footer: Awaited<ReturnType<typeof readPackFooter>>;

  private constructor(blob: OpenBlob, expected: MapPack, footer: Awaited<ReturnType<typeof readPackFooter>>) {
    this.#blob = blob;
    this.#expected = expected;
    this.#footer = footer;
  }

  /** Takes over `blob`. Throws `pack-corrupt` when it is not the pack that `expected` describes. */
  static async open(blob: OpenBlob, expected: MapPack): Promise<PackHashes> {
    try {
      const footer = await readPackFooter(blob, expected.digest);
      checkPack(expected, { sizeBytes: blob.sizeBytes, frameCount: footer.frameCount });
      return new PackHashes(blob, expected, footer);
    } catch (error) {
      await blob[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The hashes of `count` frames from `firstFrame` on, one after another. */
  async read(firstFrame: number, count: number): Promise<Buffer> {
    const entries = await this.#entries(firstFrame, count);
    const hashes = Buffer.allocUnsafe(count * HASH_BYTES);
    for (let frame = 0; frame < count; frame++)
      entries.copy(
        hashes,
        frame * HASH_BYTES,
        frame * FRAME_ENTRY_BYTES + 4,
        (frame + 1) * FRAME_ENTRY_BYTES,
      );
    return hashes;
  }

  /** Reads the lengths of all frames: they must add up, else no frame can be found. Throws `pack-corrupt`. */
  async check(): Promise<void> {
    const { frameCount, framesBytes } = this.#footer;
    let sum = 0;
    for (let frame = 0; frame < frameCount; frame += ENTRIES_A_READ) {
      const entries = await this.#entries(frame, Math.min(ENTRIES_A_READ, frameCount - frame));
      for (let at = 0; at < entries.length; at += FRAME_ENTRY_BYTES) sum += entries.readUInt32LE(at);
    }
    if (sum !== framesBytes)
      throw packCorrupt(this.#expected.digest, `its frames add up to ${sum} bytes, not ${framesBytes}`);
  }

  async #entries(firstFrame: number, count: number): Promise<Buffer> {
    const at = this.#footer.entriesOffset + firstFrame * FRAME_ENTRY_BYTES;
    return await readRange(this.#blob, at, count * FRAME_ENTRY_BYTES);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#blob[Symbol.asyncDispose]();
  }
}
