import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DiskMap, DiskMapEncoder, type Extent } from "../../../src/image/disk-map.ts";
import { ExtentLookup } from "../../../src/image/extent-lookup.ts";
import { LruCache } from "../../../src/image/lru-cache.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;

/** A map whose extents have gaps and lengths in turn. */
async function mapOf(
  steps: readonly { gap: number; count: number }[],
): Promise<{ map: DiskMap; all: Extent[] }> {
  const all: Extent[] = [];
  let at = 0;
  let frame = 0;
  for (const { gap, count } of steps) {
    // A frame is left out between two extents, so that none continues the one before.
    all.push({ firstCluster: at + gap, count, pack: 0, firstFrame: frame + 1 });
    at += gap + count;
    frame += count + 1;
  }
  const encoder = new DiskMapEncoder(Math.max(at, 1) * 65_536);
  const parts = [encoder.header(), ...all.map((extent) => encoder.add(extent) ?? Buffer.alloc(0))];
  parts.push(encoder.finish([{ digest: DIGEST, sizeBytes: 1000, frameCount: frame + 1 }]));
  const blob = Buffer.concat(parts);
  const source = {
    sizeBytes: blob.length,
    read: async (target: Buffer, offset: number) => void blob.copy(target, 0, offset),
  };
  return { map: await DiskMap.open(source, "test"), all };
}

const steps = fc.array(fc.record({ gap: fc.nat(3), count: fc.integer({ min: 1, max: 5 }) }), {
  maxLength: 900,
});

describe("ExtentLookup", () => {
  it("finds what a scan of all extents finds, cut to the range", async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(5000), fc.integer({ min: 1, max: 600 }), async (list, first, count) => {
        const { map, all } = await mapOf(list);
        const expected = all.flatMap((extent) => {
          const from = Math.max(first, extent.firstCluster);
          const to = Math.min(first + count, extent.firstCluster + extent.count);
          const firstFrame = extent.firstFrame + from - extent.firstCluster;
          return from < to ? [{ firstCluster: from, count: to - from, pack: 0, firstFrame }] : [];
        });
        expect(await new ExtentLookup(map).find(first, count)).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });
});

describe("LruCache", () => {
  it("forgets what was not used for longest, and promises that failed", async () => {
    const cache = new LruCache<string, Promise<number>>(2);
    const made: string[] = [];
    const get = (key: string) =>
      cache.get(key, async () => {
        made.push(key);
        if (key === "bad") throw new Error("no");
        return made.length;
      });
    await get("a");
    await get("b");
    await get("a");
    await get("c");
    await get("a");
    await get("b");
    expect(made).toEqual(["a", "b", "c", "b"]);
    await expect(get("bad")).rejects.toThrow("no");
    await expect(get("bad")).rejects.toThrow("no");
    expect(made.slice(4)).toEqual(["bad", "bad"]);
  });
});
