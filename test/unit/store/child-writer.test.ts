import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ClusterReader } from "../../../src/image/cluster-reader.ts";
import { DiskMap } from "../../../src/image/disk-map.ts";
import { DiskReader } from "../../../src/image/disk-reader.ts";
import { clusterHash, encodeFrame, frameCompressor } from "../../../src/image/frame.ts";
import { ChildWriter, type ClusterChange } from "../../../src/store/child-writer.ts";
import { ImageWriter } from "../../../src/store/image-writer.ts";
import { MemoryBlobs } from "./memory-blobs.ts";

const CLUSTER = 65_536;
const compressor = frameCompressor();

/** A cluster's content by a number: 0 is zeros. */
function content(number: number): Buffer {
  return Buffer.alloc(CLUSTER, number === 0 ? 0 : `cluster ${number}`);
}

async function writeParent(blobs: MemoryBlobs, numbers: readonly number[]): Promise<string> {
  await using writer = new ImageWriter(blobs.create, numbers.length * CLUSTER);
  await writer.beginDisk(numbers.length * CLUSTER);
  for (const [cluster, number] of numbers.entries()) {
    if (number === 0) continue;
    const frame = encodeFrame(compressor, content(number));
    const table = Buffer.alloc(20);
    table.writeUInt32LE(frame.length);
    clusterHash(content(number)).copy(table, 4);
    await writer.add(0, [{ firstCluster: cluster, count: 1 }], table, frame);
  }
  const { maps } = await writer.finish();
  return maps[0]?.digest ?? "";
}

async function open(blobs: MemoryBlobs, digest: string): Promise<{ map: DiskMap; reader: ClusterReader }> {
  const map = await DiskMap.open(blobs.source(digest), digest);
  const openBlob = async (pack: string) => ({ ...blobs.source(pack), [Symbol.asyncDispose]: async () => {} });
  return { map, reader: new ClusterReader(new DiskReader(map, openBlob)) };
}

describe("a child image", () => {
  it("reads as its parent with the changes applied, and counts only what differs", async () => {
    const numbers = fc.array(fc.nat(3), { minLength: 1, maxLength: 60 });
    const changes = fc.array(fc.tuple(fc.nat(59), fc.nat(3)), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(numbers, changes, async (parent, list) => {
        const blobs = new MemoryBlobs();
        const { map, reader } = await open(blobs, await writeParent(blobs, parent));
        const wanted = new Map(list.filter(([cluster]) => cluster < parent.length));
        const ascending = [...wanted].sort(([a], [b]) => a - b);
        async function* changed(): AsyncGenerator<ClusterChange> {
          for (const [cluster, number] of ascending)
            yield { cluster, content: number === 0 && cluster % 2 === 0 ? undefined : content(number) };
        }
        await using writer = new ChildWriter(blobs.create, [map]);
        await writer.addDisk(map, reader, changed());
        const { disks, packs } = await writer.finish();
        const child = await open(blobs, disks[0]?.map.digest ?? "");
        const expected = parent.map((number, cluster) => wanted.get(cluster) ?? number);
        const found = await child.reader.clusters(0, parent.length);
        for (const [cluster, number] of expected.entries())
          expect((found[cluster] ?? content(0)).equals(content(number))).toBe(true);
        const differing = expected.filter((number, cluster) => number !== parent[cluster]).length;
        expect(disks[0]?.changed.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)).toBe(
          differing * CLUSTER,
        );
        expect(disks[0]?.dataBytes).toBe(expected.filter((number) => number !== 0).length * CLUSTER);
        expect(new Set(packs.map(({ digest }) => digest))).toEqual(
          new Set(child.map.packs.map(({ digest }) => digest)),
        );
      }),
      { numRuns: 150 },
    );
  });
});
