import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { layOut, REFCOUNT_ENTRIES } from "../../../src/format/qcow2/layout.ts";

const TIB = 1024 ** 4;

describe("the layout of a qcow2 file", () => {
  it("has regions that follow one another, and refcounts for every cluster of the file, their own too", () => {
    fc.assert(
      fc.property(
        fc.record({
          diskBytes: fc.integer({ min: 0, max: 64 * TIB }),
          l2Tables: fc.integer({ min: 0, max: 131_072 }),
          compressedBytes: fc.integer({ min: 0, max: 8 * TIB }),
          plainClusters: fc.integer({ min: 0, max: 2 ** 27 }),
        }),
        (counts) => {
          const layout = layOut(counts);
          let next = 1;
          for (const name of [
            "refcountTable",
            "refcountBlocks",
            "l1Table",
            "l2Tables",
            "compressed",
            "plain",
          ] as const) {
            expect(layout[name].first).toBe(next);
            next += layout[name].clusters;
          }
          expect(layout.fileClusters).toBe(next);
          expect(layout.refcountBlocks.clusters * REFCOUNT_ENTRIES).toBeGreaterThanOrEqual(next);
          expect(layout.refcountTable.clusters * 8192).toBeGreaterThanOrEqual(layout.refcountBlocks.clusters);
          expect(layout.compressed.clusters * 65_536).toBeGreaterThanOrEqual(counts.compressedBytes);
          expect(layout.l1Table.clusters * 8192).toBeGreaterThanOrEqual(layout.l1Entries);
          expect(layout.virtualBytes % 512).toBe(0);
          expect(layout.virtualBytes - counts.diskBytes).toBeLessThan(512);
        },
      ),
    );
  });

  it("of an empty disk is a header, refcounts and an L1 table", () => {
    expect(
      layOut({ diskBytes: 65_536, l2Tables: 0, compressedBytes: 0, plainClusters: 0 }).fileClusters,
    ).toBe(4);
  });
});
