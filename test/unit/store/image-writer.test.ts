import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { DiskMap, type Extent } from "../../../src/image/disk-map.ts";
import { readPackIndex } from "../../../src/image/pack.ts";
import { ImageWriter } from "../../../src/store/image-writer.ts";
import { packSizeFor } from "../../../src/store/pack-writer.ts";
import { MemoryBlobs } from "./memory-blobs.ts";

const MIB = 1024 * 1024;

/** `count` frames of `length` bytes each with recognisable content, and their table. */
function frames(count: number, length: number, seed: number): { table: Buffer; bytes: Buffer } {
  const table = Buffer.alloc(count * 20);
  const bytes = Buffer.alloc(count * length, seed);
  for (let i = 0; i < count; i++) {
    table.writeUInt32LE(length, i * 20);
    createHash("sha256")
      .update(`${seed}/${i}`)
      .digest()
      .copy(table, i * 20 + 4, 0, 16);
  }
  return { table, bytes };
}

async function extentsOf(map: DiskMap): Promise<Extent[]> {
  const all: Extent[] = [];
  for await (const batch of map.extents()) all.push(...batch);
  return all;
}

describe("ImageWriter", () => {
  it("keeps a contiguous disk in one extent a pack", async () => {
    const blobs = new MemoryBlobs();
    const writer = new ImageWriter(blobs.create, 100 * MIB);
    await writer.beginDisk(10_000 * 65_536);
    for (let batch = 0; batch < 200; batch++) {
      const { table, bytes } = frames(10, 60_000, batch);
      await writer.add(0, [{ firstCluster: batch * 10, count: 10 }], table, bytes);
    }
    const written = await writer.finish();
    expect(written.packs).toHaveLength(2);
    expect(written.dataBytes).toEqual([2000 * 65_536]);
    const map = await DiskMap.open(blobs.source(written.maps[0]?.digest ?? ""), "test");
    const extents = await extentsOf(map);
    expect(extents).toEqual([
      { firstCluster: 0, count: 1110, pack: 0, firstFrame: 0 },
      { firstCluster: 1110, count: 890, pack: 1, firstFrame: 0 },
    ]);
    const index = await readPackIndex(blobs.source(written.packs[1]?.digest ?? ""), "second");
    expect(index.frameCount).toBe(890);
    expect(index.hashOf(0)).toEqual(createHash("sha256").update("111/0").digest().subarray(0, 16));
  });

  it("lets two disks share a pack, each map with a table of its own packs", async () => {
    const blobs = new MemoryBlobs();
    const writer = new ImageWriter(blobs.create, MIB);
    await writer.beginDisk(MIB);
    const first = frames(2, 100, 1);
    await writer.add(
      0,
      [
        { firstCluster: 3, count: 1 },
        { firstCluster: 9, count: 1 },
      ],
      first.table,
      first.bytes,
    );
    await writer.beginDisk(MIB);
    const second = frames(1, 100, 2);
    await writer.add(1, [{ firstCluster: 0, count: 1 }], second.table, second.bytes);
    const { maps, packs } = await writer.finish();
    expect(packs).toHaveLength(1);
    const map = await DiskMap.open(blobs.source(maps[1]?.digest ?? ""), "test");
    expect(map.packs).toEqual(packs);
    expect(await extentsOf(map)).toEqual([{ firstCluster: 0, count: 1, pack: 0, firstFrame: 2 }]);
  });

  it("commits nothing and drops every open blob when it is disposed early", async () => {
    const blobs = new MemoryBlobs();
    {
      await using writer = new ImageWriter(blobs.create, MIB);
      await writer.beginDisk(MIB);
      const { table, bytes } = frames(1, 100, 1);
      await writer.add(0, [{ firstCluster: 0, count: 1 }], table, bytes);
    }
    expect(blobs.blobs.size).toBe(0);
    expect(blobs.aborted).toBe(2);
  });

  it("refuses runs that do not ascend", async () => {
    const blobs = new MemoryBlobs();
    const writer = new ImageWriter(blobs.create, MIB);
    await writer.beginDisk(MIB);
    const { table, bytes } = frames(1, 100, 1);
    await writer.add(0, [{ firstCluster: 5, count: 1 }], table, bytes);
    await expect(writer.add(0, [{ firstCluster: 5, count: 1 }], table, bytes)).rejects.toThrow(RangeError);
  });
});

describe("packSizeFor", () => {
  it("stays at 64 MiB while 8,192 packs are enough, then doubles", () => {
    expect(packSizeFor(0)).toBe(64 * MIB);
    expect(packSizeFor(500 * 1024 * MIB)).toBe(64 * MIB);
    expect(packSizeFor(16 * 1024 * 1024 * MIB)).toBe(4096 * MIB);
  });
});
