import { describe, expect, it } from "vitest";
import { isDirtyRecord, volumeRecord } from "../../../../src/guest/windows/ntfs-state.ts";

function bootSector(sectorsPerCluster: number, perRecord: number): Buffer {
  const boot = Buffer.alloc(512);
  boot.write("NTFS    ", 3, "latin1");
  boot.writeUInt16LE(512, 0x0b);
  boot.writeUInt8(sectorsPerCluster, 0x0d);
  boot.writeBigUInt64LE(4n, 0x30);
  boot.writeInt8(perRecord, 0x40);
  return boot;
}

/** A file record with a standard information attribute and the volume's flags. */
function record(flags: number): Buffer {
  const file = Buffer.alloc(1024);
  file.write("FILE", 0, "latin1");
  file.writeUInt16LE(56, 0x14);
  file.writeUInt32LE(0x10, 56);
  file.writeUInt32LE(72, 60);
  file.writeUInt32LE(0x70, 128);
  file.writeUInt32LE(40, 132);
  file.writeUInt16LE(24, 128 + 0x14);
  file.writeUInt16LE(flags, 128 + 24 + 10);
  file.writeUInt32LE(0xffff_ffff, 168);
  return file;
}

describe("the state of an NTFS volume", () => {
  it("is in the fourth file record, wherever clusters and records of any size have it", () => {
    expect(volumeRecord(bootSector(8, -10))).toEqual({ offsetBytes: 4 * 4096 + 3 * 1024, lengthBytes: 1024 });
    expect(volumeRecord(bootSector(2, 1))).toEqual({ offsetBytes: 4 * 1024 + 3 * 1024, lengthBytes: 1024 });
    // 0xF4 is 2^12 sectors: clusters of 2 MiB.
    expect(volumeRecord(bootSector(0xf4, -10))).toEqual({
      offsetBytes: 4 * 2 ** 21 + 3 * 1024,
      lengthBytes: 1024,
    });
    expect(volumeRecord(Buffer.alloc(512))).toBeUndefined();
  });

  it("is dirty by one flag", () => {
    expect(isDirtyRecord(record(0))).toBe(false);
    expect(isDirtyRecord(record(0x0080))).toBe(false);
    expect(isDirtyRecord(record(0x0001))).toBe(true);
  });

  it("counts as dirty when the record is damaged, and reading it ends", () => {
    expect(isDirtyRecord(Buffer.alloc(1024))).toBe(true);
    expect(isDirtyRecord(record(0).subarray(0, 140))).toBe(true);
    const endless = record(0);
    endless.writeUInt32LE(0, 60);
    expect(isDirtyRecord(endless)).toBe(true);
  });
});
