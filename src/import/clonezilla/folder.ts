import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { DoppelError } from "../../errors.ts";
import { diskBytesOf, parsePartitionTable, type TablePartition } from "./partition-table.ts";

/** What a partition is made from. */
export type PartitionContent =
  | { kind: "image"; path: string }
  | { kind: "swap"; info: string }
  /** An extended partition: the table makes it. */
  | { kind: "table" };

export interface ClonezillaPartition extends TablePartition {
  content: PartitionContent;
}

export interface ClonezillaDisk {
  /** As the kernel named it on the machine. */
  name: string;
  sizeBytes: number;
  /** As `sfdisk --dump` wrote it. */
  table: Buffer;
  partitions: ClonezillaPartition[];
  /** The first sector. */
  bootSector: Buffer | undefined;
  /** What lies between it and the first partition; only where the table is an MBR. */
  bootGap: Buffer | undefined;
}

/** A partition's image: whole, or its first piece. */
const IMAGE = /(?:-ptcl-img|\.dd-img)(?:\.(?:gz|zst|xz|bz2|lz4))?(?:\.aaa?)?$/;
const MOST_TEXT_BYTES = 1024 * 1024;
/** Nobody begins the first partition later; of what is longer only the beginning counts. */
const MOST_GAP_BYTES = 64 * 1024 * 1024;

/**
 * Reads which disks a folder of Clonezilla's `savedisk` holds, and from which of its files each is made; undefined when it is
 * no such folder. Throws `disk-image-invalid` when something of a disk is missing, or is of a kind that is not read.
 */
export async function readClonezillaFolder(folder: string): Promise<ClonezillaDisk[] | undefined> {
  const names = await readdir(folder);
  if (!names.includes("parts") && !names.includes("disk")) return undefined;
  if (!names.includes("disk")) {
    throw new DoppelError("disk-image-invalid", `${folder} holds partitions, not a disk`, {
      hint: "name the file of a partition (…-ptcl-img….aa) to import it alone",
    });
  }
  const disks: ClonezillaDisk[] = [];
  const listed = (await readText(join(folder, "disk"))).split(/\s+/).filter((word) => word !== "");
  for (const name of listed) {
    // It becomes a part of file names.
    if (!/^[A-Za-z0-9]+$/.test(name))
      throw new DoppelError("disk-image-invalid", `${join(folder, "disk")} does not name disks`);
    disks.push(await readDisk(folder, names, name));
  }
  if (disks.length === 0) throw new DoppelError("disk-image-invalid", `${folder} names no disk`);
  return disks;
}

async function readDisk(folder: string, names: readonly string[], name: string): Promise<ClonezillaDisk> {
  const file = (ending: string) => join(folder, `${name}-${ending}`);
  const text = await readText(file("pt.sf"));
  const { partitions, leastDiskBytes } = parsePartitionTable(text, file("pt.sf"));
  const parted = names.includes(`${name}-pt.parted`) ? await readText(file("pt.parted")) : "";
  const hasGpt = /^label:\s*gpt/m.test(text);
  const optional = async (ending: string, mostBytes: number) =>
    names.includes(`${name}-${ending}`) ? (await readFile(file(ending))).subarray(0, mostBytes) : undefined;
  const made: ClonezillaPartition[] = [];
  for (const partition of partitions)
    made.push({ ...partition, content: await contentOf(folder, names, partition) });
  return {
    name,
    sizeBytes: Math.max(diskBytesOf(parted) ?? 0, leastDiskBytes),
    table: Buffer.from(text),
    partitions: made,
    bootSector: await optional("mbr", 512),
    bootGap: hasGpt ? undefined : await optional("hidden-data-after-mbr", MOST_GAP_BYTES),
  };
}

async function contentOf(
  folder: string,
  names: readonly string[],
  { name, isExtended }: TablePartition,
): Promise<PartitionContent> {
  if (isExtended) return { kind: "table" };
  const image = names.filter((one) => one.startsWith(`${name}.`) && IMAGE.test(one)).sort()[0];
  if (image !== undefined) return { kind: "image", path: join(folder, image) };
  const info = `swappt-${name}.info`;
  if (names.includes(info)) return { kind: "swap", info: await readText(join(folder, info)) };
  throw new DoppelError("disk-image-invalid", `${folder} has nothing of partition ${name} that is read`, {
    hint: "read are images by partclone and dd, and swap; not LVM, md, ntfsclone and partimage: restore it with Clonezilla, then capture",
  });
}

async function readText(path: string): Promise<string> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new DoppelError("disk-image-invalid", `${path} is missing or cannot be read`, { cause });
  });
  return bytes.subarray(0, MOST_TEXT_BYTES).toString("utf8");
}
