import type { Guestfish } from "../guestfish.ts";

const VOLUME_RECORD = 3;
const VOLUME_INFORMATION = 0x70;
const END_OF_ATTRIBUTES = 0xffff_ffff;
const DIRTY = 0x0001;

/**
 * Whether Windows would check the volume before it uses it: the dirty flag of $Volume ("NTFS Documentation", Russon and
 * Fledel, 4.6 and 5.1). A volume that cannot be read so is taken to be dirty.
 */
export async function isNtfsDirty(guestfish: Guestfish, device: string): Promise<boolean> {
  const boot = await guestfish.readDevice(device, 0, 512);
  const place = volumeRecord(boot);
  if (!place) return true;
  return isDirtyRecord(await guestfish.readDevice(device, place.offsetBytes, place.lengthBytes));
}

/** Where the file record of $Volume is, by the boot sector; undefined when that is none of NTFS. */
export function volumeRecord(boot: Buffer): { offsetBytes: number; lengthBytes: number } | undefined {
  if (boot.toString("latin1", 3, 11) !== "NTFS    ") return undefined;
  const sectorBytes = boot.readUInt16LE(0x0b);
  const sectorsPerCluster = boot.readUInt8(0x0d);
  const clusterBytes =
    sectorsPerCluster <= 128 ? sectorBytes * sectorsPerCluster : sectorBytes * 2 ** (256 - sectorsPerCluster);
  const perRecord = boot.readInt8(0x40);
  const lengthBytes = perRecord > 0 ? perRecord * clusterBytes : 2 ** -perRecord;
  const offsetBytes = Number(boot.readBigUInt64LE(0x30)) * clusterBytes + VOLUME_RECORD * lengthBytes;
  if (!(lengthBytes >= 512 && lengthBytes <= 65_536) || !Number.isSafeInteger(offsetBytes)) return undefined;
  return { offsetBytes, lengthBytes };
}

/** The flag in the file record of $Volume; true when the record does not hold one. */
export function isDirtyRecord(record: Buffer): boolean {
  if (record.toString("latin1", 0, 4) !== "FILE") return true;
  let at = record.readUInt16LE(0x14);
  while (at + 24 <= record.length) {
    const type = record.readUInt32LE(at);
    const lengthBytes = record.readUInt32LE(at + 4);
    if (type === END_OF_ATTRIBUTES || lengthBytes < 24) return true;
    const content = at + record.readUInt16LE(at + 0x14);
    if (type === VOLUME_INFORMATION)
      return content + 12 > record.length || (record.readUInt16LE(content + 10) & DIRTY) !== 0;
    at += lengthBytes;
  }
  return true;
}
