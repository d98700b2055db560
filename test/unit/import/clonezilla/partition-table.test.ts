import { describe, expect, it } from "vitest";
import { diskBytesOf, parsePartitionTable } from "../../../../src/import/clonezilla/partition-table.ts";

const GPT = `label: gpt
label-id: 2B5D0A1E-5F5C-4B0C-9E0E-7A5D9B0B1C11
device: /dev/nvme0n1
unit: sectors
first-lba: 34
last-lba: 147422
sector-size: 512

/dev/nvme0n1p1 : start=        2048, size=      122880, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=0A, name="a, size= 7"
/dev/nvme0n1p2 : start=      124928, size=       16384, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
`;

const OLD_MBR = `# partition table of /dev/sda
unit: sectors

/dev/sda1 : start=     2048, size=   204800, Id=83, bootable
/dev/sda2 : start=   206848, size=   409600, Id= 5
/dev/sda3 : start=        0, size=        0, Id= 0
/dev/sda5 : start=   208896, size=   102400, Id=82
`;

describe("a partition table as sfdisk dumps it", () => {
  it("of a GPT names its partitions, and how large the disk was at least", () => {
    const { partitions, leastDiskBytes } = parsePartitionTable(GPT, "sda-pt.sf");
    expect(partitions).toEqual([
      { name: "nvme0n1p1", offsetBytes: 2048 * 512, sizeBytes: 122880 * 512, isExtended: false },
      { name: "nvme0n1p2", offsetBytes: 124928 * 512, sizeBytes: 16384 * 512, isExtended: false },
    ]);
    expect(leastDiskBytes).toBe(72 * 1024 * 1024);
  });

  it("of old versions leaves empty entries out, and knows extended partitions", () => {
    const { partitions } = parsePartitionTable(OLD_MBR, "sda-pt.sf");
    expect(partitions.map(({ name, isExtended }) => [name, isExtended])).toEqual([
      ["sda1", false],
      ["sda2", true],
      ["sda5", false],
    ]);
  });

  it.each([
    ["", "no partition table"],
    [GPT.replace("sector-size: 512", "sector-size: 4096"), "4096 bytes"],
    [OLD_MBR.replace("2048,", "99999999999999999999,"), "no disk has"],
    ["/dev/sda1 : size= 10\n", "no disk has"],
  ])("that cannot be one is refused (%#)", (text, why) => {
    expect(() => parsePartitionTable(text, "sda-pt.sf")).toThrow(
      expect.objectContaining({ code: "disk-image-invalid", message: expect.stringContaining(why) }),
    );
  });
});

it("parted says how large the disk was", () => {
  expect(diskBytesOf("Model: ATA (scsi)\nDisk /dev/sda: 147456s\nSector size\n")).toBe(72 * 1024 * 1024);
  expect(diskBytesOf("Disk /dev/sda: 75.5MB\n")).toBeUndefined();
});
