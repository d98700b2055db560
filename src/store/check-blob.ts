import { createHash } from "node:crypto";
import { RAW_FRAME_BYTES } from "../image/cluster.ts";
import { decodeFrame } from "../image/frame.ts";
import type { Descriptor } from "../image/manifest.ts";
import { type PackIndex, readPackIndex } from "../image/pack.ts";
import type { BlobSource } from "./blob-source.ts";
import { type Sample, sampledRuns } from "./sample.ts";

/** What is wrong with a blob: all of it, or one frame of a pack. */
export interface Fault {
  message: string;
  frame?: number;
}

export interface CheckOptions {
  signal: AbortSignal | undefined;
  onBytes: (bytes: number) => void;
}

export interface PackCheck {
  faults: Fault[];
  /** Frames that were looked at, and how many the pack has. */
  frames: number;
  frameCount: number;
}

/** Reads all of a blob and compares its size and digest. */
export async function checkDigest(
  source: BlobSource,
  descriptor: Descriptor,
  options: CheckOptions,
): Promise<Fault[]> {
  const sizeFault = await checkSize(source, descriptor);
  if (sizeFault) return [sizeFault];
  let hash = createHash("sha256");
  await source.readAll(descriptor, () => {
    hash = createHash("sha256");
    return async (piece) => {
      options.signal?.throwIfAborted();
      hash.update(piece);
      options.onBytes(piece.length);
    };
  });
  return compareDigest(descriptor, hash.digest("hex"));
}

/** Reads all of a pack: its digest over every byte, each frame against its hash in the index. */
export async function checkPack(
  source: BlobSource,
  descriptor: Descriptor,
  options: CheckOptions,
): Promise<PackCheck> {
  const sizeFault = await checkSize(source, descriptor);
  if (sizeFault) return { faults: [sizeFault], frames: 0, frameCount: 0 };
  const index = await openIndex(source, descriptor);
  let hash = createHash("sha256");
  let frames = new FrameCheck(index);
  await source.readAll(descriptor, () => {
    hash = createHash("sha256");
    frames = new FrameCheck(index);
    return async (piece) => {
      options.signal?.throwIfAborted();
      hash.update(piece);
      frames.take(piece);
      options.onBytes(piece.length);
    };
  });
  // A frame that is at fault says more than the digest of the whole.
  const faults = frames.faults.length > 0 ? frames.faults : compareDigest(descriptor, hash.digest("hex"));
  return { faults, frames: frames.checked, frameCount: index.frameCount };
}

/** Reads a share of a pack's frames, and its index. */
export async function checkPackSample(
  source: BlobSource,
  descriptor: Descriptor,
  sample: Sample,
  options: CheckOptions,
): Promise<PackCheck> {
  const sizeFault = await checkSize(source, descriptor);
  if (sizeFault) return { faults: [sizeFault], frames: 0, frameCount: 0 };
  await using blob = await source.openBlob(descriptor);
  const index = await readPackIndex(blob, descriptor.digest);
  const faults: Fault[] = [];
  let frames = 0;
  for (const { firstFrame, count } of sampledRuns(descriptor.digest, index.frameCount, sample)) {
    options.signal?.throwIfAborted();
    const start = index.offsetOf(firstFrame);
    const bytes = Buffer.allocUnsafe(index.offsetOf(firstFrame + count) - start);
    await blob.read(bytes, start);
    options.onBytes(bytes.length);
    for (let frame = firstFrame; frame < firstFrame + count; frame++, frames++) {
      const at = index.offsetOf(frame) - start;
      const fault = checkFrame(index, frame, bytes.subarray(at, at + index.lengthOf(frame)));
      if (fault) faults.push(fault);
    }
  }
  return { faults, frames, frameCount: index.frameCount };
}

async function checkSize(source: BlobSource, descriptor: Descriptor): Promise<Fault | undefined> {
  await using blob = await source.openBlob(descriptor);
  if (blob.sizeBytes === descriptor.size) return undefined;
  return { message: `has ${blob.sizeBytes} bytes, the manifest says ${descriptor.size}` };
}

async function openIndex(source: BlobSource, descriptor: Descriptor): Promise<PackIndex> {
  await using blob = await source.openBlob(descriptor);
  return await readPackIndex(blob, descriptor.digest);
}

function compareDigest({ digest }: Descriptor, hex: string): Fault[] {
  return `sha256:${hex}` === digest ? [] : [{ message: "its bytes do not match its digest" }];
}

function checkFrame(index: PackIndex, frame: number, bytes: Buffer): Fault | undefined {
  const decoded = decodeFrame(bytes, index.hashOf(frame));
  return typeof decoded === "string"
    ? { message: `frame ${frame} is corrupt: ${decoded}`, frame }
    : undefined;
}

/** Cuts a pack that comes in pieces of any size into frames. Memory: one frame. */
class FrameCheck {
  readonly faults: Fault[] = [];
  checked = 0;
  readonly #index: PackIndex;
  readonly #begun = Buffer.allocUnsafe(RAW_FRAME_BYTES);
  #begunBytes = 0;

  constructor(index: PackIndex) {
    this.#index = index;
  }

  take(piece: Buffer): void {
    let at = 0;
    while (at < piece.length && this.checked < this.#index.frameCount) {
      const lengthBytes = this.#index.lengthOf(this.checked);
      const taken = Math.min(lengthBytes - this.#begunBytes, piece.length - at);
      const whole = taken === lengthBytes;
      if (!whole) piece.copy(this.#begun, this.#begunBytes, at, at + taken);
      this.#begunBytes += taken;
      at += taken;
      if (this.#begunBytes < lengthBytes) return;
      this.#check(whole ? piece.subarray(at - taken, at) : this.#begun.subarray(0, lengthBytes));
    }
  }

  #check(bytes: Buffer): void {
    const fault = checkFrame(this.#index, this.checked, bytes);
    if (fault) this.faults.push(fault);
    this.checked++;
    this.#begunBytes = 0;
  }
}
