import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ClusterRun, diffDisks } from "../../../src/image/disk-diff.ts";
import { DiskMap } from "../../../src/image/disk-map.ts";
import { DiskReader } from "../../../src/image/disk-reader.ts";
import { ImageWriter } from "../../../src/store/image-writer.ts";
import { MemoryBlobs } from "../store/memory-blobs.ts";

const CLUSTER = 65_536;
const FRAME_BYTES = 40;

/** Disks of one image, which share its packs; their clusters have the given contents, 0 being zeros. */
async function disksOf(disks: readonly (readonly number[])[], blobs: MemoryBlobs): Promise<DiskReader[]> {
  const writer = new ImageWriter(blobs.create, CLUSTER);
  for (const [disk, contents] of disks.entries()) {
    await writer.beginDisk(contents.length * CLUSTER);
    for (const [cluster, content] of contents.entries()) {
      if (content === 0) continue;
      const table = Buffer.alloc(20);
      table.writeUInt32LE(FRAME_BYTES, 0);
      createHash("sha256").update(String(content)).digest().copy(table, 4, 0, 16);
      const runs = [{ firstCluster: cluster, count: 1 }];
      await writer.add(disk, runs, table, Buffer.alloc(FRAME_BYTES, content));
    }
  }
  const { maps } = await writer.finish();
  const open = async (digest: string) => ({ ...blobs.source(digest), [Symbol.asyncDispose]: async () => {} });
  return Promise.all(
    maps.map(async ({ digest }) => new DiskReader(await DiskMap.open(blobs.source(digest), "a disk"), open)),
  );
}

/** How two disks differ: of two images, or of one. */
async function diff(
  left: readonly number[],
  right: readonly number[],
  sameImage = false,
): Promise<ClusterRun[]> {
  const blobs = new MemoryBlobs();
  const [a, b] = sameImage
    ? await disksOf([left, right], blobs)
    : [...(await disksOf([left], blobs)), ...(await disksOf([right], blobs))];
  const runs: ClusterRun[] = [];
  if (!a || !b) throw new Error("two disks");
  for await (const run of diffDisks(a, b)) runs.push(run);
  await a[Symbol.asyncDispose]();
  await b[Symbol.asyncDispose]();
  return runs;
}

describe("the difference of two disks", () => {
  it("is nothing for one disk and itself, everything against an empty one", async () => {
    const disk = [1, 2, 0, 3];
    expect(await diff(disk, disk)).toEqual([]);
    expect(await diff(disk, [0, 0, 0, 0])).toEqual([
      { firstCluster: 0, count: 2 },
      { firstCluster: 3, count: 1 },
    ]);
    expect(await diff([], disk)).toHaveLength(2);
  });

  it("is what a comparison cluster by cluster finds, in runs that do not touch", async () => {
    const contents = fc.array(fc.nat({ max: 4 }), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(contents, contents, fc.boolean(), async (left, right, sameImage) => {
        const runs = await diff(left, right, sameImage);
        const found = runs.flatMap(({ firstCluster, count }) =>
          Array.from({ length: count }, (_, index) => firstCluster + index),
        );
        const expected = Array.from(
          { length: Math.max(left.length, right.length) },
          (_, cluster) => cluster,
        ).filter((cluster) => (left[cluster] ?? 0) !== (right[cluster] ?? 0));
        expect(found).toEqual(expected);
        for (const [index, run] of runs.entries()) {
          const before = runs[index - 1];
          if (before) expect(run.firstCluster).toBeGreaterThan(before.firstCluster + before.count);
        }
      }),
      { numRuns: 300 },
    );
  });
});
