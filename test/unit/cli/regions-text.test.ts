import { describe, expect, it } from "vitest";
import { table } from "../../../src/cli/output.ts";
import { regionRows } from "../../../src/cli/regions-text.ts";

const MIB = 1024 * 1024;
const region = (kind: string, lengthBytes: number, more = {}) => ({
  ...{ kind, lengthBytes, usedBytes: lengthBytes, method: "whole" },
  ...more,
});

describe("regions for people", () => {
  it("are one row a partition, and one for all that surrounds them", () => {
    const rows = regionRows([
      region("boot-gap", MIB),
      region("partition-table", 512, { usedBytes: 0 }),
      region("ext4", 300 * MIB, {
        path: "/dev/sda1",
        usedBytes: 4 * MIB,
        method: "allocation-map",
        mountpoint: "/",
      }),
      region("unknown", 8 * MIB, { partition: 2, reason: "nobody knows what it is" }),
      region("gap", MIB),
    ]);
    expect(table(rows, [3, 4])).toBe(
      [
        "  /dev/sda1     ext4     300 MiB  4.0 MiB used  /  allocation-map",
        "  partition 2   unknown  8.0 MiB  8.0 MiB used     whole: nobody knows what it is",
        "  tables, gaps           2.0 MiB  2.0 MiB used     whole",
        "",
      ].join("\n"),
    );
  });

  it("of a disk without partitions are the one row", () => {
    expect(regionRows([region("xfs", MIB)])).toEqual([
      ["", "whole disk", "xfs", "1.0 MiB", "1.0 MiB used", "", "whole"],
    ]);
  });
});
