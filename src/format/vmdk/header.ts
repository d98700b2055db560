import { createHash } from "node:crypto";
import type { DiskReader } from "../../image/disk-reader.ts";

/**
 * VMware Virtual Disk Format 5.0 (the technical note), "Hosted Sparse Extent Header" and "Stream-Optimized Compressed Sparse
 * Extents". Everything on disk is little-endian, and counted in sectors.
 */
export const SECTOR_BYTES = 512;
/** A grain has the size of a cluster. */
export const GRAIN_SECTORS = 128;
/** Entries of a grain table, 4 bytes each: 32 MiB of the disk. */
export const TABLE_ENTRIES = 512;
export const TABLE_SECTORS = (TABLE_ENTRIES * 4) / SECTOR_BYTES;
const DESCRIPTOR_SECTOR = 1;
export const DESCRIPTOR_SECTORS = 20;
/** An offset in sectors has 32 bits. */
export const MOST_FILE_SECTORS = 2 ** 32 - 1;

const MAGIC = 0x564d444b;
/** Grain directory at the end: what a stream's header says. */
export const DIRECTORY_AT_END = 0xffff_ffff_ffff_ffffn;

const FLAG_NEWLINE_TEST = 1 << 0;
const FLAG_REDUNDANT_TABLE = 1 << 1;
const FLAG_COMPRESSED = 1 << 16;
const FLAG_MARKERS = 1 << 17;
const COMPRESSION_DEFLATE = 1;

export type Subformat = "streamOptimized" | "monolithicSparse";

/** What a header says besides what is always the same. */
export interface HeaderFields {
  subformat: Subformat;
  capacitySectors: number;
  redundantDirectorySector: bigint;
  directorySector: bigint;
  /** Sectors before the first grain. */
  overheadSectors: number;
}

export function encodeHeader(fields: HeaderFields): Buffer {
  const stream = fields.subformat === "streamOptimized";
  const header = Buffer.alloc(SECTOR_BYTES);
  header.writeUInt32LE(MAGIC, 0);
  // ESXi takes a stream of version 3 only; sparse files for workstations have version 1.
  header.writeUInt32LE(stream ? 3 : 1, 4);
  const flags = FLAG_NEWLINE_TEST | (stream ? FLAG_COMPRESSED | FLAG_MARKERS : FLAG_REDUNDANT_TABLE);
  header.writeUInt32LE(flags, 8);
  header.writeBigUInt64LE(BigInt(fields.capacitySectors), 12);
  header.writeBigUInt64LE(BigInt(GRAIN_SECTORS), 20);
  header.writeBigUInt64LE(BigInt(DESCRIPTOR_SECTOR), 28);
  header.writeBigUInt64LE(BigInt(DESCRIPTOR_SECTORS), 36);
  header.writeUInt32LE(TABLE_ENTRIES, 44);
  header.writeBigUInt64LE(fields.redundantDirectorySector, 48);
  header.writeBigUInt64LE(fields.directorySector, 56);
  header.writeBigUInt64LE(BigInt(fields.overheadSectors), 64);
  // Not in use; then what shows that no one has converted line ends.
  header.writeUInt8(0, 72);
  header.write("\n \r\n", 73, "latin1");
  header.writeUInt16LE(stream ? COMPRESSION_DEFLATE : 0, 77);
  return header;
}

/** The embedded descriptor. Nothing in it depends on when or where it is written. */
export function encodeDescriptor(disk: DiskReader, subformat: Subformat, capacitySectors: number): Buffer {
  const cylinders = Math.min(65_535, Math.floor(capacitySectors / (255 * 63)));
  const text = `# Disk DescriptorFile
version=1
CID=${contentId(disk)}
parentCID=ffffffff
createType="${subformat}"

# Extent description
RW ${capacitySectors} SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "13"
ddb.geometry.cylinders = "${cylinders}"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
`;
  const descriptor = Buffer.alloc(DESCRIPTOR_SECTORS * SECTOR_BYTES);
  descriptor.write(text, "latin1");
  return descriptor;
}

/** A content id, 32 bits: the same for the same packs. The two highest values mean something else. */
function contentId(disk: DiskReader): string {
  const hash = createHash("sha256").update(String(disk.diskBytes));
  for (const { digest } of disk.map.packs) hash.update(digest);
  return (hash.digest().readUInt32LE() & 0x7fff_ffff).toString(16).padStart(8, "0");
}

/** Sectors of a disk: a last part of one counts as a whole. */
export function sectorsOf(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES);
}
