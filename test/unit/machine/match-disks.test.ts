import { describe, expect, test } from "vitest";
import { matchDisks } from "../../../src/machine/match-disks.ts";

const disk = (device: string, sizeBytes: number, serial?: string) => ({ device, sizeBytes, serial });

describe("a disk is found again", () => {
  test("by its serial number, under another name and with another size", () => {
    const before = [disk("/dev/sda", 10, "A"), disk("/dev/sdb", 10, "B")];
    expect(matchDisks(before, [disk("/dev/sda", 20, "B"), disk("/dev/sdb", 10, "A")])).toEqual([1, 0]);
  });

  test("by name and size where there is no serial number", () => {
    const before = [disk("/dev/vda", 10), disk("/dev/vdb", 10)];
    expect(matchDisks(before, [disk("/dev/vdb", 10), disk("/dev/vda", 10)])).toEqual([1, 0]);
  });

  test("by size alone under another name, and by name with another size", () => {
    expect(matchDisks([disk("/dev/sda", 10)], [disk("/dev/vda", 10)])).toEqual([0]);
    expect(matchDisks([disk("/dev/vda", 10)], [disk("/dev/vda", 20)])).toEqual([0]);
  });
});

test("no disk is found twice, and what is like none stays alone", () => {
  expect(matchDisks([disk("/dev/sda", 10)], [disk("/dev/sda", 10), disk("/dev/sdb", 10)])).toEqual([
    0,
    undefined,
  ]);
  expect(matchDisks([disk("/dev/sda", 10)], [disk("/dev/sdb", 20)])).toEqual([undefined]);
});
