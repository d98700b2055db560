import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ByteSource } from "../../../src/image/byte-source.ts";
import { DiskMap, DiskMapEncoder, type Extent } from "../../../src/image/disk-map.ts";
import { encodePackTrailer, readPackIndex } from "../../../src/image/pack.ts";
import { recordLayout } from "../../../src/image/record.ts";
import { formatReference, parseReference } from "../../../src/image/reference.ts";

const hex = "ab".repeat(32);

function memory(bytes: Buffer): ByteSource {
  return {
    sizeBytes: bytes.length,
    read: async (target, offset) => {
      if (offset < 0 || offset + target.length > bytes.length) throw new RangeError("past the end");
      bytes.copy(target, 0, offset);
    },
  };
}

function pack(lengths: readonly number[]): Buffer {
  const entries = Buffer.alloc(lengths.length * 20);
  for (const [i, length] of lengths.entries()) {
    entries.writeUInt32LE(length, i * 20);
    createHash("sha256")
      .update(String(i))
      .digest()
      .copy(entries, i * 20 + 4, 0, 16);
  }
  const total = lengths.reduce((sum, length) => sum + length, 0);
  return Buffer.concat([Buffer.alloc(total), encodePackTrailer(entries, total)]);
}

const lengthsArbitrary = fc.array(fc.integer({ min: 12, max: 65_550 }), { minLength: 1, maxLength: 20 });

describe("a pack index", () => {
  it("gives back offsets, lengths and hashes", async () => {
    await fc.assert(
      fc.asyncProperty(lengthsArbitrary, async (lengths) => {
        const index = await readPackIndex(memory(pack(lengths)), "test");
        expect(lengths.map((_, i) => index.lengthOf(i))).toEqual(lengths);
        expect(index.offsetOf(lengths.length)).toBe(lengths.reduce((sum, length) => sum + length, 0));
        expect(index.hashOf(0)).toEqual(createHash("sha256").update("0").digest().subarray(0, 16));
      }),
    );
  });

  it("of a truncated or mutated pack is refused with pack-corrupt, or is not what was changed", async () => {
    await fc.assert(
      fc.asyncProperty(
        lengthsArbitrary,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (lengths, at, flip) => {
          const whole = pack(lengths);
          const cut = whole.subarray(0, at % whole.length);
          await expect(readPackIndex(memory(cut), "test")).rejects.toMatchObject({ code: "pack-corrupt" });
          const mutated = Buffer.from(whole);
          const trailer = lengths.reduce((sum, length) => sum + length, 0);
          const byte = trailer + (at % (whole.length - trailer));
          mutated[byte] = (mutated[byte] ?? 0) ^ flip;
          await readPackIndex(memory(mutated), "test").catch((error) =>
            expect(error.code).toBe("pack-corrupt"),
          );
        },
      ),
    );
  });

  it("that claims four billion frames is refused before memory is taken", async () => {
    const bytes = pack([100]);
    bytes.writeUInt32LE(0xffff_ffff, bytes.length - 24);
    await expect(readPackIndex(memory(bytes), "test")).rejects.toMatchObject({ code: "pack-corrupt" });
  });
});

const DISK_CLUSTERS = 10_000;

/** Extents in order, with gaps, on packs of 1,000 frames. */
const extentsArbitrary = fc
  .array(
    fc.record({
      gap: fc.nat(20),
      count: fc.integer({ min: 1, max: 50 }),
      pack: fc.nat(2),
      firstFrame: fc.nat(900),
    }),
    {
      maxLength: 60,
    },
  )
  .map((steps) => {
    let next = 0;
    return steps.map(({ gap, ...rest }) => {
      const extent = { firstCluster: next + gap, ...rest };
      next = extent.firstCluster + extent.count;
      return extent;
    });
  });

function encodeMap(extents: readonly Extent[]): Buffer {
  const encoder = new DiskMapEncoder(DISK_CLUSTERS * 65_536);
  const parts = [encoder.header()];
  for (const extent of extents) parts.push(encoder.add(extent) ?? Buffer.alloc(0));
  const table = [0, 1, 2].map((n) => ({ digest: `sha256:${hex}`, sizeBytes: 70_000 + n, frameCount: 1000 }));
  return Buffer.concat([...parts, encoder.finish(table)]);
}

/** Where each covered cluster comes from. */
function contents(extents: readonly Extent[]): Map<number, string> {
  const found = new Map<number, string>();
  for (const { firstCluster, count, pack: number, firstFrame } of extents) {
    for (let i = 0; i < count; i++) found.set(firstCluster + i, `${number}/${firstFrame + i}`);
  }
  return found;
}

describe("a disk map", () => {
  it("gives every cluster back, in order, with adjoining extents merged", async () => {
    await fc.assert(
      fc.asyncProperty(extentsArbitrary, async (extents) => {
        const map = await DiskMap.open(memory(encodeMap(extents)), "test");
        const read: Extent[] = [];
        for await (const batch of map.extents()) read.push(...batch);
        expect(contents(read)).toEqual(contents(extents));
        expect(read.length).toBeLessThanOrEqual(extents.length);
        expect(map.coveredClusters).toBe(contents(extents).size);
      }),
    );
  });

  it("with any byte changed or cut is refused with map-corrupt, or read without leaving disk and packs", async () => {
    await fc.assert(
      fc.asyncProperty(
        extentsArbitrary,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (extents, at, flip) => {
          const whole = encodeMap(extents);
          await expect(
            DiskMap.open(memory(whole.subarray(0, at % whole.length)), "cut"),
          ).rejects.toMatchObject({
            code: "map-corrupt",
          });
          const mutated = Buffer.from(whole);
          mutated[at % whole.length] = (mutated[at % whole.length] ?? 0) ^ flip;
          try {
            const map = await DiskMap.open(memory(mutated), "test");
            for await (const batch of map.extents()) {
              for (const { firstCluster, count } of batch) {
                expect((firstCluster + count - 1) * 65_536).toBeLessThan(map.diskBytes);
              }
            }
          } catch (error) {
            expect(error).toMatchObject({ code: "map-corrupt" });
          }
        },
      ),
    );
  });
});

describe("a record", () => {
  const layout = recordLayout("big", 16, { a: [0, "u8"], b: [2, "u16"], c: [4, "u32"], d: [8, "u64"] });

  it("is read as it was written", () => {
    fc.assert(
      fc.property(
        fc.record({
          a: fc.nat(255),
          b: fc.nat(65_535),
          c: fc.nat(2 ** 31 - 1),
          d: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
        }),
        (values) => {
          expect(layout.read(layout.write(values))).toEqual(values);
        },
      ),
    );
  });

  it("with a number above 2^53 throws", () => {
    expect(() => layout.read(Buffer.alloc(16, 0xff))).toThrow(RangeError);
  });
});

describe("a reference", () => {
  it.each([
    ["web1", { name: "web1", tag: "latest" }],
    ["site/web1:monday", { name: "site/web1", tag: "monday" }],
    ["registry.example.org/site/web1:m", { registry: "registry.example.org", name: "site/web1", tag: "m" }],
    ["localhost:5000/web1", { registry: "localhost:5000", name: "web1", tag: "latest" }],
    [`web1@sha256:${hex}`, { name: "web1", tag: "latest", digest: `sha256:${hex}` }],
  ])("%s is understood", (text, expected) => {
    expect(parseReference(text)).toEqual(expected);
    expect(parseReference(formatReference(parseReference(text)))).toEqual(expected);
  });

  it.each([
    "",
    "Web",
    "a b",
    "../etc",
    "web:",
    "web1@sha256:12",
    "-x",
    "a//b",
    "web1:ta g",
    "a/../b",
    "web\n1",
  ])("%j is refused (exit 2)", (text) => {
    expect(() => parseReference(text)).toThrow(
      expect.objectContaining({ code: "reference-invalid", exitCode: 2 }),
    );
  });
});
