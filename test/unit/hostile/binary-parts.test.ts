import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compress } from "zstd-napi";
import { DoppelError } from "../../../src/errors.ts";
import type { ByteSource } from "../../../src/image/byte-source.ts";
import { CLUSTER_BYTES, clusterCount } from "../../../src/image/cluster.ts";
import { DiskMap, DiskMapEncoder } from "../../../src/image/disk-map.ts";
import { ExtentLookup } from "../../../src/image/extent-lookup.ts";
import { clusterHash, decodeFrame, encodeFrame, frameCompressor } from "../../../src/image/frame.ts";
import { encodePackTrailer, readPackIndex } from "../../../src/image/pack.ts";
import { acceptOrRefuse, acceptOrRefuseLater, cases, mutated, TIME_LIMIT_MS } from "./cases.ts";

const compressor = frameCompressor();
const clusters = Array.from({ length: 8 }, (_, number) => Buffer.alloc(CLUSTER_BYTES, `cluster ${number}`));

function validPack(): Buffer {
  const frames = clusters.map((cluster) => encodeFrame(compressor, cluster));
  const entries = Buffer.concat(
    frames.map((frame, number) => {
      const entry = Buffer.alloc(20);
      entry.writeUInt32LE(frame.length);
      clusterHash(clusters[number] ?? Buffer.alloc(0)).copy(entry, 4);
      return entry;
    }),
  );
  const bytes = Buffer.concat(frames);
  return Buffer.concat([bytes, encodePackTrailer(entries, bytes.length)]);
}

function validMap(): Buffer {
  const encoder = new DiskMapEncoder(64 * CLUSTER_BYTES + 512);
  const parts = [encoder.header()];
  for (let at = 0; at < 60; at += 6)
    parts.push(encoder.add({ firstCluster: at, count: 4, pack: at % 2, firstFrame: at }) ?? Buffer.alloc(0));
  const pack = (fill: string) => ({ digest: `sha256:${fill.repeat(64)}`, sizeBytes: 9000, frameCount: 70 });
  return Buffer.concat([...parts, encoder.finish([pack("1"), pack("2")])]);
}

/** Bytes as a blob of a store: refuses to read past its end; counts what is asked for. */
function sourceOf(blob: Buffer): ByteSource & { askedBytes: number } {
  return {
    sizeBytes: blob.length,
    askedBytes: 0,
    async read(target, offsetBytes) {
      this.askedBytes += target.length;
      if (offsetBytes < 0 || offsetBytes + target.length > blob.length)
        throw new DoppelError("blob-truncated", "read past the end");
      blob.copy(target, 0, offsetBytes);
    },
  };
}

describe("a pack whose bytes are changed", () => {
  it("has an index that fits it, or is refused; its frames are the clusters of their hashes or are said to be bad", {
    timeout: TIME_LIMIT_MS,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(mutated(validPack()), async (blob) => {
        const source = sourceOf(blob);
        const index = await acceptOrRefuseLater(() => readPackIndex(source, "test"));
        expect(source.askedBytes).toBeLessThanOrEqual(blob.length + 64);
        if (!index) return;
        expect(index.offsetOf(index.frameCount)).toBeLessThan(blob.length);
        for (let frame = 0; frame < Math.min(index.frameCount, 16); frame++) {
          const at = index.offsetOf(frame);
          const decoded = decodeFrame(blob.subarray(at, at + index.lengthOf(frame)), index.hashOf(frame));
          if (typeof decoded !== "string")
            expect(clusterHash(decoded).equals(index.hashOf(frame))).toBe(true);
        }
      }),
      cases(3000),
    );
  });
});

describe("a disk map whose bytes are changed", () => {
  it("has extents within the disk and its packs, ascending, or is refused", {
    timeout: TIME_LIMIT_MS,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(mutated(validMap()), async (blob) => {
        const source = sourceOf(blob);
        await acceptOrRefuseLater(async () => {
          const map = await DiskMap.open(source, "test");
          let next = 0;
          for await (const batch of map.extents()) {
            for (const { firstCluster, count, pack, firstFrame } of batch) {
              expect(firstCluster).toBeGreaterThanOrEqual(next);
              next = firstCluster + count;
              expect(next).toBeLessThanOrEqual(clusterCount(map.diskBytes));
              expect(firstFrame + count).toBeLessThanOrEqual(map.packs[pack]?.frameCount ?? 0);
            }
          }
        });
        // Twice the map at most: once its tables, once its extents.
        expect(source.askedBytes).toBeLessThanOrEqual(2 * blob.length + 128);
      }),
      cases(3000),
    );
  });

  it("is searched to an end wherever its extents lie", { timeout: TIME_LIMIT_MS }, async () => {
    await fc.assert(
      fc.asyncProperty(mutated(validMap()), fc.nat(80), async (blob, cluster) => {
        await acceptOrRefuseLater(async () => {
          const map = await DiskMap.open(sourceOf(blob), "test");
          const found = await new ExtentLookup(map).find(cluster, 10);
          for (const extent of found) {
            expect(extent.firstCluster).toBeGreaterThanOrEqual(cluster);
            expect(extent.firstCluster + extent.count).toBeLessThanOrEqual(cluster + 10);
          }
        });
      }),
      cases(1500),
    );
  });
});

describe("a frame", () => {
  const frame = encodeFrame(compressor, clusters[0] ?? Buffer.alloc(0));
  const hash = clusterHash(clusters[0] ?? Buffer.alloc(0));

  it("whose bytes are changed is its cluster or is said to be bad", { timeout: TIME_LIMIT_MS }, () => {
    fc.assert(
      fc.property(mutated(frame), (bytes) => {
        const decoded = acceptOrRefuse(() => decodeFrame(bytes, hash));
        if (Buffer.isBuffer(decoded)) expect(decoded.equals(clusters[0] ?? Buffer.alloc(0))).toBe(true);
      }),
      cases(5000),
    );
  });

  it("that would unfold to gigabytes is refused without unfolding it", () => {
    const bomb = compress(Buffer.alloc(256 * 1024 * 1024), { compressionLevel: 1, contentSizeFlag: true });
    const unsized = compress(Buffer.alloc(256 * 1024 * 1024), { contentSizeFlag: false });
    const before = process.memoryUsage().rss;
    // Its own header says how much; or an honest frame comes first; or a header lies.
    expect(decodeFrame(bomb, hash)).toContain("declares");
    expect(decodeFrame(Buffer.concat([frame, bomb]), hash)).toEqual(expect.any(String));
    // Before garbage collection can give back what was unfolded.
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
    expect(decodeFrame(unsized, hash)).toContain("declares no bytes");
    const lying = Buffer.concat([frame.subarray(0, 6), bomb.subarray(6)]);
    expect(decodeFrame(lying, hash)).toEqual(expect.any(String));
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  });
});
