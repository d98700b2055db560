import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CLUSTER_BYTES } from "../../../src/image/cluster.ts";
import { diskLayout } from "../../../src/image/disk-layout.ts";
import { DiskMap, DiskMapEncoder } from "../../../src/image/disk-map.ts";

const PACK = { digest: `sha256:${"a".repeat(64)}`, sizeBytes: 1, frameCount: 4_000_000 };

async function mapOf(diskBytes: number, runs: readonly [number, number][]): Promise<DiskMap> {
  const encoder = new DiskMapEncoder(diskBytes);
  const parts = [encoder.header()];
  for (const [firstCluster, count] of runs) {
    // Each from another frame, so that none is merged with the one before.
    const bytes = encoder.add({ firstCluster, count, pack: 0, firstFrame: firstCluster % 7 });
    if (bytes) parts.push(bytes);
  }
  parts.push(encoder.finish([PACK]));
  const blob = Buffer.concat(parts);
  const read = async (target: Buffer, offset: number) => void blob.copy(target, 0, offset);
  return await DiskMap.open({ sizeBytes: blob.length, read }, "of a test");
}

function disk(sizeBytes: number) {
  return {
    name: "sda",
    device: "/dev/sda",
    sizeBytes,
    logicalSectorBytes: 512,
    map: PACK.digest,
    dataBytes: 0,
    regions: [],
    readErrors: [],
  };
}

describe("the layout of a disk", () => {
  it("shows of each cell what tells most: read errors, what changed, what was taken whole, data, zeros", async () => {
    const sizeBytes = 100 * CLUSTER_BYTES;
    const layout = await diskLayout(
      await mapOf(sizeBytes, [
        [0, 20],
        [40, 40],
      ]),
      {
        ...disk(sizeBytes),
        regions: [
          {
            offsetBytes: 60 * CLUSTER_BYTES,
            lengthBytes: 40 * CLUSTER_BYTES,
            kind: "unknown",
            method: "whole",
            usedBytes: 0,
            reason: "nobody knows it",
          },
        ],
        changed: [{ offsetBytes: 45 * CLUSTER_BYTES, lengthBytes: CLUSTER_BYTES }],
        readErrors: [{ cluster: 90, offsetBytes: 90 * CLUSTER_BYTES, lengthBytes: 512, message: "EIO" }],
      },
      10,
    );
    expect(layout.cells.join(" ")).toBe("used used zero zero changed used whole whole zero unreadable");
    expect(layout.bytes).toEqual({
      unreadable: CLUSTER_BYTES,
      changed: CLUSTER_BYTES,
      whole: 20 * CLUSTER_BYTES,
      used: 60 * CLUSTER_BYTES,
      zero: 40 * CLUSTER_BYTES,
    });
    expect(layout.dataRanges).toEqual([
      [0, 20 * CLUSTER_BYTES],
      [40 * CLUSTER_BYTES, 40 * CLUSTER_BYTES],
    ]);
  });

  it("counts every byte once, whatever the map and the width, and cuts the last cluster at the disk's end", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(50), fc.integer({ min: 1, max: 50 })), { maxLength: 40 }),
        fc.integer({ min: 1, max: CLUSTER_BYTES }),
        fc.integer({ min: 1, max: 300 }),
        async (gaps, lastBytes, width) => {
          let at = 0;
          const runs = gaps.map(([gap, count]): [number, number] => {
            const first = at + gap;
            at = first + count;
            return [first, count];
          });
          const sizeBytes = at * CLUSTER_BYTES + lastBytes;
          const { bytes, cells, dataRanges } = await diskLayout(
            await mapOf(sizeBytes, runs),
            disk(sizeBytes),
            width,
          );
          expect(bytes.used + bytes.zero).toBe(sizeBytes);
          expect(dataRanges.reduce((sum, [, length]) => sum + length, 0)).toBe(bytes.used);
          expect(cells.length).toBe(Math.min(width, at + 1));
        },
      ),
    );
  });

  it("is there at once for 16 TiB in many pieces", async () => {
    const sizeBytes = 16 * 2 ** 40;
    const runs = Array.from({ length: 200_000 }, (_, index): [number, number] => [index * 1300, 700]);
    const map = await mapOf(sizeBytes, runs);
    const started = performance.now();
    const { cells } = await diskLayout(map, disk(sizeBytes), 120);
    expect(performance.now() - started).toBeLessThan(3000);
    expect(cells.filter((cell) => cell === "used")).toHaveLength(117);
  });
});
