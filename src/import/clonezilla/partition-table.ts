import { DoppelError } from "../../errors.ts";

/** A line of an `sfdisk --dump`. */
export interface TablePartition {
  /** As the kernel named it on the machine: `sda1`, `nvme0n1p2`. */
  name: string;
  offsetBytes: number;
  sizeBytes: number;
  /** Of it others are made; it holds nothing itself. */
  isExtended: boolean;
}

export interface PartitionTable {
  partitions: TablePartition[];
  /** What the table itself says of the end of the disk: enough for all that it names. */
  leastDiskBytes: number;
}

const SECTOR_BYTES = 512;
/** Behind the last usable sector: the second copy of the entries, and the header (UEFI 2.10, 5.3.1). */
const GPT_TAIL_SECTORS = 33;
/** Types of extended partitions in an MBR. */
const EXTENDED = new Set(["5", "f", "85"]);

/** Parses what `sfdisk --dump` writes, of old versions too. Throws `disk-image-invalid`. */
export function parsePartitionTable(text: string, label: string): PartitionTable {
  const sectorBytes = Number(/^sector-size:\s*(\d+)/m.exec(text)?.[1] ?? SECTOR_BYTES);
  if (sectorBytes !== SECTOR_BYTES)
    throw new DoppelError(
      "disk-image-invalid",
      `${label}: disks with sectors of ${sectorBytes} bytes are not read`,
    );
  const partitions: TablePartition[] = [];
  for (const [, name = "", fields = ""] of text.matchAll(/^\/dev\/([A-Za-z0-9]+)\s*:(.*)$/gm)) {
    const offsetBytes = bytesOf(/start=\s*(\d+)/.exec(fields)?.[1]);
    const sizeBytes = bytesOf(/size=\s*(\d+)/.exec(fields)?.[1]);
    const type = /(?:type|Id)=\s*([0-9A-Fa-f-]+)/.exec(fields)?.[1]?.toLowerCase() ?? "";
    if (sizeBytes > 0) partitions.push({ name, offsetBytes, sizeBytes, isExtended: EXTENDED.has(type) });
  }
  if (partitions.length === 0)
    throw new DoppelError("disk-image-invalid", `${label} is no partition table as sfdisk writes it`);
  const lastSector = /^last-lba:\s*(\d+)/m.exec(text)?.[1];
  const ends = partitions.map(({ offsetBytes, sizeBytes }) => offsetBytes + sizeBytes);
  if (lastSector !== undefined) ends.push(bytesOf(lastSector) + (1 + GPT_TAIL_SECTORS) * SECTOR_BYTES);
  return { partitions, leastDiskBytes: Math.max(...ends) };
}

/** The size of a disk in what `parted unit s print` writes; undefined where it does not say. */
export function diskBytesOf(text: string): number | undefined {
  const sectors = /^Disk \/dev\/\S+:\s*(\d+)s$/m.exec(text)?.[1];
  return sectors === undefined ? undefined : bytesOf(sectors);
}

function bytesOf(sectors: string | undefined): number {
  const bytes = Number(sectors ?? Number.NaN) * SECTOR_BYTES;
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new DoppelError("disk-image-invalid", "a partition table names a sector that no disk has");
}
