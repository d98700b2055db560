import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sampledRuns } from "../../../src/store/sample.ts";

const DIGEST = `sha256:${"1".repeat(64)}`;

describe("a sample of a pack's frames", () => {
  it("lies within the pack, ascends, is about the share, and has at least one frame", () => {
    const any = fc.record({
      frameCount: fc.integer({ min: 1, max: 10_000 }),
      share: fc.double({ min: 0.0001, max: 1, noNaN: true }),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(any, ({ frameCount, share, seed }) => {
        let end = 0;
        let frames = 0;
        for (const { firstFrame, count } of sampledRuns(DIGEST, frameCount, { share, seed })) {
          expect(firstFrame).toBeGreaterThanOrEqual(end);
          expect(count).toBeGreaterThan(0);
          end = firstFrame + count;
          frames += count;
        }
        expect(end).toBeLessThanOrEqual(frameCount);
        expect(frames).toBeGreaterThan(0);
        expect(Math.abs(frames - frameCount * share)).toBeLessThanOrEqual(32);
      }),
    );
  });

  it("of 100 % is every frame", () => {
    const frames = [...sampledRuns(DIGEST, 1000, { share: 1, seed: 3 })];
    expect(frames.reduce((sum, { count }) => sum + count, 0)).toBe(1000);
  });

  it("reaches every frame by some seed", () => {
    const reached = new Set<number>();
    for (let seed = 0; seed < 500; seed++)
      for (const { firstFrame, count } of sampledRuns(DIGEST, 320, { share: 0.05, seed }))
        for (let frame = firstFrame; frame < firstFrame + count; frame++) reached.add(frame);
    expect(reached.size).toBe(320);
  });
});
