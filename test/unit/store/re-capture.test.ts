import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ClusterReader } from "../../../src/image/cluster-reader.ts";
import { diffPlaces } from "../../../src/image/disk-diff.ts";
import { DiskMap } from "../../../src/image/disk-map.ts";
import { DiskReader } from "../../../src/image/disk-reader.ts";
import { clusterHash, encodeFrame, frameCompressor } from "../../../src/image/frame.ts";
import { ImageWriter } from "../../../src/store/image-writer.ts";
import { MemoryBlobs } from "./memory-blobs.ts";

const CLUSTER = 65_536;
const compressor = frameCompressor();

/** A cluster's content by a number: 0 is zeros. */
function content(number: number): Buffer {
  return Buffer.alloc(CLUSTER, number === 0 ? 0 : `cluster ${number}`);
}

/** Tells the writer of a disk as an agent does: batches of what is the same and of new clusters, which interleave. */
async function tell(
  writer: ImageWriter,
  disk: readonly number[],
  base: readonly number[],
  clustersABatch: number,
): Promise<void> {
  for (let start = 0; start < disk.length; start += clustersABatch) {
    const same: { firstCluster: number; count: number }[] = [];
    const runs: { firstCluster: number; count: number }[] = [];
    const frames: Buffer[] = [];
    const entries: Buffer[] = [];
    for (let cluster = start; cluster < Math.min(start + clustersABatch, disk.length); cluster++) {
      const number = disk[cluster] ?? 0;
      if (number === 0) continue;
      if (base[cluster] === number) same.push({ firstCluster: cluster, count: 1 });
      else {
        const frame = encodeFrame(compressor, content(number));
        const length = Buffer.alloc(4);
        length.writeUInt32LE(frame.length);
        runs.push({ firstCluster: cluster, count: 1 });
        frames.push(frame);
        entries.push(length, clusterHash(content(number)));
      }
    }
    if (same.length > 0) await writer.addSame(0, same);
    if (runs.length > 0) await writer.add(0, runs, Buffer.concat(entries), Buffer.concat(frames));
  }
}

async function open(blobs: MemoryBlobs, digest = ""): Promise<{ map: DiskMap; reader: ClusterReader }> {
  const map = await DiskMap.open(blobs.source(digest), digest);
  const openBlob = async (pack: string) => ({ ...blobs.source(pack), [Symbol.asyncDispose]: async () => {} });
  return { map, reader: new ClusterReader(new DiskReader(map, openBlob)) };
}

async function contentOf(reader: ClusterReader, clusters: number): Promise<number[]> {
  const found = await reader.clusters(0, clusters);
  return found.map(
    (bytes) => [0, 1, 2, 3].find((number) => (bytes ?? content(0)).equals(content(number))) ?? -1,
  );
}

const disks = fc.array(fc.nat(3), { minLength: 1, maxLength: 50 });

describe("a re-capture", () => {
  it("reads as the disk does now, and differs from its parent where the disk does", async () => {
    await fc.assert(
      fc.asyncProperty(disks, disks, fc.integer({ min: 1, max: 20 }), async (before, now, batch) => {
        const blobs = new MemoryBlobs();
        await using first = new ImageWriter(blobs.create, before.length * CLUSTER);
        await first.beginDisk(before.length * CLUSTER);
        await tell(first, before, [], batch);
        const parent = await open(blobs, (await first.finish()).maps[0]?.digest);
        await using second = new ImageWriter(blobs.create, now.length * CLUSTER);
        await second.beginDisk(now.length * CLUSTER, parent.map);
        await tell(second, now, before, batch);
        const written = await second.finish();
        const child = await open(blobs, written.maps[0]?.digest);
        expect(await contentOf(child.reader, now.length)).toEqual(now);
        expect(written.packs).toEqual(child.map.packs);
        const differing = new Set<number>();
        for await (const { firstCluster, count } of diffPlaces(parent.map, child.map))
          for (let i = 0; i < count; i++) differing.add(firstCluster + i);
        const longest = Math.max(before.length, now.length);
        const expected = Array.from({ length: longest }, (_, i) => i).filter(
          (i) => (before[i] ?? 0) !== (now[i] ?? 0),
        );
        expect([...differing]).toEqual(expected);
      }),
      { numRuns: 100 },
    );
  });

  it("that ends early keeps what had come, and what its parent has behind that", async () => {
    await fc.assert(
      fc.asyncProperty(disks, disks, fc.nat(50), async (before, now, end) => {
        const blobs = new MemoryBlobs();
        await using first = new ImageWriter(blobs.create, before.length * CLUSTER);
        await first.beginDisk(now.length * CLUSTER);
        await tell(first, before.slice(0, now.length), [], 7);
        const parent = await open(blobs, (await first.finish()).maps[0]?.digest);
        await using second = new ImageWriter(blobs.create, now.length * CLUSTER);
        await second.beginDisk(now.length * CLUSTER, parent.map);
        const come = now.slice(0, end);
        await tell(second, come, before, 7);
        const kept = await open(blobs, (await second.finishEarly()).maps[0]?.digest);
        const reached = come.findLastIndex((number) => number !== 0) + 1;
        const expected = now.map((number, i) => (i < reached ? number : (before[i] ?? 0)));
        expect(await contentOf(kept.reader, now.length)).toEqual(expected);
      }),
      { numRuns: 100 },
    );
  });

  it("refuses what is said to be the same and is not known", async () => {
    const blobs = new MemoryBlobs();
    await using writer = new ImageWriter(blobs.create, CLUSTER);
    await writer.beginDisk(4 * CLUSTER);
    await writer.addSame(0, [{ firstCluster: 1, count: 2 }]);
    await expect(writer.finish()).rejects.toMatchObject({ code: "agent-protocol" });
  });
});
