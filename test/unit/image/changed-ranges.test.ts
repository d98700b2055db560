import { expect, test } from "vitest";
import { ChangedRanges } from "../../../src/image/changed-ranges.ts";

const CLUSTER = 65_536;

test("runs that follow one another are one range, and the last one ends with the disk", () => {
  const changed = new ChangedRanges(10 * CLUSTER - 100);
  changed.add(1, 2);
  changed.add(3, 1);
  changed.add(9, 1);
  changed.add(12, 3);
  expect(changed.ranges).toEqual([
    { offsetBytes: CLUSTER, lengthBytes: 3 * CLUSTER },
    { offsetBytes: 9 * CLUSTER, lengthBytes: CLUSTER - 100 },
  ]);
});

test("of too many ranges the nearest are joined; what changed stays covered", () => {
  const changed = new ChangedRanges(1_000_000 * CLUSTER, 10);
  const clusters = Array.from({ length: 200 }, (_, index) => index * 3 + Math.floor(index / 50) * 10_000);
  for (const cluster of clusters) changed.add(cluster, 1);
  expect(changed.ranges.length).toBeLessThanOrEqual(10);
  for (const cluster of clusters)
    expect(
      changed.ranges.some(
        ({ offsetBytes, lengthBytes }) =>
          offsetBytes <= cluster * CLUSTER && offsetBytes + lengthBytes >= (cluster + 1) * CLUSTER,
      ),
    ).toBe(true);
  expect(changed.ranges.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)).toBeLessThan(700 * CLUSTER);
});
