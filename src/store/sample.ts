import { createHash } from "node:crypto";

/** A share of the frames, between 0 and 1, and the number that says which. */
export interface Sample {
  share: number;
  seed: number;
}

export interface FrameRun {
  firstFrame: number;
  count: number;
}

/** Frames that are looked at together: one read of a file, one request to a registry. */
const FRAMES_A_RUN = 16;

/**
 * Runs of 16 neighbouring frames of a pack, ascending, that are together the share: the pack is cut into pieces of 1/share
 * runs, of each of which one is chosen by the seed and the pack's digest. At least one of every pack. The same seed chooses
 * the same frames.
 */
export function* sampledRuns(
  digest: string,
  frameCount: number,
  { share, seed }: Sample,
): Generator<FrameRun> {
  const runs = Math.ceil(frameCount / FRAMES_A_RUN);
  const pieces = Math.max(1, Math.round(runs * share));
  for (let piece = 0; piece < pieces; piece++) {
    const from = Math.floor((piece * runs) / pieces);
    const end = Math.floor(((piece + 1) * runs) / pieces);
    const run = from + Math.floor(fraction(`${seed}/${digest}/${piece}`) * (end - from));
    const firstFrame = run * FRAMES_A_RUN;
    yield { firstFrame, count: Math.min(FRAMES_A_RUN, frameCount - firstFrame) };
  }
}

/** A number in [0, 1) that follows from a text. */
function fraction(text: string): number {
  return createHash("sha256").update(text).digest().readUIntBE(0, 6) / 2 ** 48;
}
