import { DoppelError, messageOf } from "../errors.ts";
import { type ByteSource, readRange } from "./byte-source.ts";
import { CLUSTER_BYTES, HASH_BYTES, RAW_FRAME_BYTES } from "./cluster.ts";
import { recordLayout } from "./record.ts";

/** Bytes of one frame's entry in a pack index and in the agent's frame table: length (4), hash (16). */
export const FRAME_ENTRY_BYTES = 4 + HASH_BYTES;

/** Most frames in one pack: bounds the memory of an index whatever a foreign pack claims. */
export const MAX_PACK_FRAMES = 4_194_304;

const SKIPPABLE_MAGIC = 0x184d2a5d;
const PACK_MAGIC = Buffer.from("DOPPELPK", "latin1");
const SMALLEST_FRAME_BYTES = 12;

/** docs/image-format.md, Pack. */
const SKIPPABLE = recordLayout("little", 8, { magic: [0, "u32"], contentBytes: [4, "u32"] });
const FOOTER = recordLayout("little", 32, {
  framesBytes: [0, "u64"],
  frameCount: [8, "u32"],
  clusterBytes: [12, "u32"],
  version: [16, "u32"],
  magic: [24, "bytes8"],
});

/** The index of one pack, in memory: 24 bytes a frame. */
export class PackIndex {
  readonly frameCount: number;
  /** Bytes of all frames together. */
  readonly framesBytes: number;
  readonly #offsets: Float64Array;
  readonly #entries: Buffer;

  /** `entries` is the index as stored; it is kept, not copied. Throws a RangeError when it contradicts itself. */
  constructor(entries: Buffer, framesBytes: number) {
    this.frameCount = entries.length / FRAME_ENTRY_BYTES;
    this.framesBytes = framesBytes;
    this.#entries = entries;
    this.#offsets = new Float64Array(this.frameCount + 1);
    for (let frame = 0; frame < this.frameCount; frame++) {
      const length = entries.readUInt32LE(frame * FRAME_ENTRY_BYTES);
      if (length < SMALLEST_FRAME_BYTES || length > RAW_FRAME_BYTES) {
        throw new RangeError(`frame ${frame} claims ${length} bytes`);
      }
      this.#offsets[frame + 1] = (this.#offsets[frame] ?? 0) + length;
    }
    if (this.#offsets[this.frameCount] !== framesBytes) {
      throw new RangeError(
        `its frames add up to ${this.#offsets[this.frameCount]} bytes, not ${framesBytes}`,
      );
    }
  }

  /** Offset of a frame in the pack; of `frameCount`, the end of the last frame. */
  offsetOf(frame: number): number {
    const offset = this.#offsets[frame];
    if (offset === undefined)
      throw new RangeError(`the pack has ${this.frameCount} frames, no frame ${frame}`);
    return offset;
  }

  lengthOf(frame: number): number {
    return this.offsetOf(frame + 1) - this.offsetOf(frame);
  }

  /** The first 16 bytes of the SHA-256 of the raw cluster; a view, not a copy. */
  hashOf(frame: number): Buffer {
    return this.#entries.subarray(frame * FRAME_ENTRY_BYTES + 4, (frame + 1) * FRAME_ENTRY_BYTES);
  }
}

/** The end of a pack: the skippable frame that holds `entries` (20 bytes a frame) and the footer. */
export function encodePackTrailer(entries: Buffer, framesBytes: number): Buffer {
  const trailer = Buffer.alloc(SKIPPABLE.sizeBytes + entries.length + FOOTER.sizeBytes);
  SKIPPABLE.write({ magic: SKIPPABLE_MAGIC, contentBytes: entries.length + FOOTER.sizeBytes }, trailer);
  entries.copy(trailer, SKIPPABLE.sizeBytes);
  FOOTER.write(
    {
      framesBytes,
      frameCount: entries.length / FRAME_ENTRY_BYTES,
      clusterBytes: CLUSTER_BYTES,
      version: 1,
      magic: PACK_MAGIC,
    },
    trailer,
    SKIPPABLE.sizeBytes + entries.length,
  );
  return trailer;
}

/** Reads and checks the index of a pack. Throws `pack-corrupt`, naming `name`, when anything contradicts. */
export async function readPackIndex(source: ByteSource, name: string): Promise<PackIndex> {
  const footer = await readPackFooter(source, name);
  const entriesBytes = footer.frameCount * FRAME_ENTRY_BYTES;
  const index = await readRange(source, footer.framesBytes, SKIPPABLE.sizeBytes + entriesBytes);
  const header = SKIPPABLE.read(index);
  if (header.magic !== SKIPPABLE_MAGIC || header.contentBytes !== entriesBytes + FOOTER.sizeBytes) {
    throw packCorrupt(name, "its index has no skippable frame header");
  }
  try {
    return new PackIndex(index.subarray(SKIPPABLE.sizeBytes), footer.framesBytes);
  } catch (error) {
    throw packCorrupt(name, messageOf(error));
  }
}

/** Reads the end of a pack and checks it against the blob's size. Throws `pack-corrupt`. */
export async function readPackFooter(
  source: ByteSource,
  name: string,
): Promise<{ frameCount: number; framesBytes: number; entriesOffset: number }> {
  const smallest = SKIPPABLE.sizeBytes + FOOTER.sizeBytes + FRAME_ENTRY_BYTES;
  if (source.sizeBytes < smallest) throw packCorrupt(name, `it has only ${source.sizeBytes} bytes`);
  const bytes = await readRange(source, source.sizeBytes - FOOTER.sizeBytes, FOOTER.sizeBytes);
  const { frameCount, framesBytes } = readFooter(bytes, name);
  const entriesOffset = framesBytes + SKIPPABLE.sizeBytes;
  const expected = entriesOffset + frameCount * FRAME_ENTRY_BYTES + FOOTER.sizeBytes;
  if (expected !== source.sizeBytes) {
    throw packCorrupt(name, `its footer describes ${expected} bytes, the blob has ${source.sizeBytes}`);
  }
  return { frameCount, framesBytes, entriesOffset };
}

function readFooter(bytes: Buffer, name: string) {
  let footer: ReturnType<typeof FOOTER.read>;
  try {
    footer = FOOTER.read(bytes);
  } catch {
    throw packCorrupt(name, "its footer is not readable");
  }
  if (!footer.magic.equals(PACK_MAGIC)) throw packCorrupt(name, "it does not end with a pack footer");
  if (footer.version !== 1 || footer.clusterBytes !== CLUSTER_BYTES) {
    throw packCorrupt(
      name,
      `version ${footer.version} with clusters of ${footer.clusterBytes} bytes is not known here`,
    );
  }
  if (footer.frameCount < 1 || footer.frameCount > MAX_PACK_FRAMES) {
    throw packCorrupt(name, `it claims ${footer.frameCount} frames`);
  }
  return footer;
}

/** The error for a pack that contradicts itself. */
export function packCorrupt(name: string, what: string): DoppelError {
  return new DoppelError("pack-corrupt", `pack ${name} is corrupt: ${what}`, {
    hint: "run 'doppel images verify' on the image to see what it hurts",
  });
}
