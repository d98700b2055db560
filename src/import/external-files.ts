import { lstat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DoppelError, EXIT } from "../errors.ts";
import { type ByteSource, readRange } from "../image/byte-source.ts";
import type { DiskFormat } from "./disk-format.ts";
import { readHead } from "./read-head.ts";

/** Most bytes of a VMDK descriptor: qemu reads no more of one (block/vmdk.c), and what it reads must be looked at. */
const DESCRIPTOR_BYTES = 1024 * 1024;
const SECTOR_BYTES = 512;
const NO_PARENT = "ffffffff";
const MOST_NAME_BYTES = 4096;
const QCOW2_DATA_FILE = 1n << 2n;
const VHD_DIFFERENCING = 4;

/** A file that a disk image says it needs. */
interface ExternalFile {
  /** As the image names it. */
  name: string;
  what: "backing file" | "data file" | "extent";
}

/**
 * Refuses a disk image that names other files (`disk-image-external`, exit 3): it comes from elsewhere, and could name any
 * file of this machine, whose content would then be in the image. The pieces of a split VMDK are no harm: plain files
 * beside it, which are called as it is.
 */
export async function refuseExternalFiles(
  label: string,
  path: string,
  format: DiskFormat,
  image: ByteSource,
): Promise<void> {
  for (const file of await externalFiles(label, format, image)) {
    if (file.what === "extent" && (await isPieceBeside(path, file.name))) continue;
    throw new DoppelError(
      "disk-image-external",
      `${label} names another file, as its ${file.what}: ${JSON.stringify(file.name)}`,
      {
        hint: "where you trust the image and that file, say --allow-external; or join them first with qemu-img convert",
        exitCode: EXIT.refused,
      },
    );
  }
}

async function externalFiles(path: string, format: DiskFormat, image: ByteSource): Promise<ExternalFile[]> {
  const read = READERS[format.name];
  try {
    return read ? await read(image, path) : [];
  } catch (error) {
    if (error instanceof DoppelError && error.code === "disk-image-invalid") throw error;
    throw invalid(path, `its header cannot be read`, error);
  }
}

type Reader = (image: ByteSource, path: string) => Promise<ExternalFile[]>;

const READERS: Record<string, Reader> = {
  qcow2: async (image) => {
    const header = await readRange(image, 0, Math.min(104, image.sizeBytes));
    const files = await qcowBacking(image, header);
    // docs/interop/qcow2.txt: incompatible features, version 3 and newer.
    if (header.readUInt32BE(4) >= 3 && (header.readBigUInt64BE(72) & QCOW2_DATA_FILE) !== 0n)
      files.push({ name: "(in the header)", what: "data file" });
    return files;
  },
  qcow: async (image) => await qcowBacking(image, await readRange(image, 0, 48)),
  // docs/interop/qed_spec.rst.
  qed: async (image) => {
    const header = await readRange(image, 0, 64);
    if ((header.readBigUInt64LE(16) & 1n) === 0n) return [];
    const name = await nameAt(image, header.readUInt32LE(56), header.readUInt32LE(60));
    return [{ name, what: "backing file" }];
  },
  vmdk: vmdkFiles,
  // Virtual Hard Disk Image Format Specification 1.0: disk type, of the footer's copy at the beginning.
  vhd: async (image) => {
    const head = await readRange(image, 0, Math.min(512, image.sizeBytes));
    const differs =
      head.toString("latin1", 0, 8) === "conectix" && head.readUInt32BE(60) === VHD_DIFFERENCING;
    return differs ? [{ name: "(its parent)", what: "backing file" }] : [];
  },
};

async function qcowBacking(image: ByteSource, header: Buffer): Promise<ExternalFile[]> {
  const offset = header.readBigUInt64BE(8);
  if (offset === 0n) return [];
  return [{ name: await nameAt(image, Number(offset), header.readUInt32BE(16)), what: "backing file" }];
}

/** A name in the file, for the message only: one that cannot be read is still one. */
async function nameAt(image: ByteSource, offset: number, length: number): Promise<string> {
  const fits = length <= MOST_NAME_BYTES && offset + length <= image.sizeBytes;
  return fits ? (await readRange(image, offset, length)).toString("utf8") : "?";
}

/** VMware Virtual Disk Format 5.0: sparse extent header, embedded descriptor, descriptor. */
async function vmdkFiles(image: ByteSource, path: string): Promise<ExternalFile[]> {
  const head = await readRange(image, 0, Math.min(SECTOR_BYTES, image.sizeBytes));
  const mark = head.toString("latin1", 0, 4);
  if (mark === "COWD") return [];
  if (mark !== "KDMV") {
    const text = await readRange(image, 0, Math.min(DESCRIPTOR_BYTES, image.sizeBytes));
    return descriptorFiles(text.toString("latin1"), true);
  }
  if (hidesDescriptor(head)) throw invalid(path, "its header has no capacity");
  const offset = Number(head.readBigUInt64LE(28)) * SECTOR_BYTES;
  if (offset === 0) return [];
  const most = Math.min(DESCRIPTOR_BYTES, image.sizeBytes - offset);
  if (most <= 0) throw invalid(path, "its descriptor lies behind its end");
  return descriptorFiles(
    (await readRange(image, offset, most)).toString("latin1").replace(/\0[\s\S]*$/, ""),
    false,
  );
}

/** As qemu's scanf takes it, and more: a number may have a sign. */
const EXTENT = /^\s*(?:RW|RDONLY|NOACCESS)\s+[+-]?\d+\s+([A-Z]+)(?:\s*"([^"\n]*)")?/;
const LIKE_EXTENT = /^\s*RW\s/;

function descriptorFiles(text: string, withExtents: boolean): ExternalFile[] {
  const files: ExternalFile[] = [];
  for (const line of text.split(/\r?\n|\0/)) {
    const [, parent] = /^\s*parentCID\s*=\s*([0-9a-fA-F]+)/.exec(line) ?? [];
    const [, hint] = /^\s*parentFileNameHint\s*=\s*"([^"]*)"?/.exec(line) ?? [];
    if (hint !== undefined) files.unshift({ name: hint, what: "backing file" });
    else if (parent !== undefined && parent.toLowerCase() !== NO_PARENT)
      files.push({ name: `(its parent, ${parent})`, what: "backing file" });
    const [, kind, name] = EXTENT.exec(line) ?? [];
    if (withExtents && (kind ?? LIKE_EXTENT.exec(line)) && kind !== "ZERO")
      files.push({ name: name ?? "?", what: "extent" });
  }
  return files;
}

/** A file beside the descriptor, no link, that is called like a part of a VMDK and hides no descriptor of its own. */
async function isPieceBeside(path: string, name: string): Promise<boolean> {
  if (!/^[^/\\:\0]+\.vmdk$/i.test(name)) return false;
  const piece = join(dirname(path), name);
  const found = await lstat(piece).catch(() => undefined);
  return found?.isFile() === true && !hidesDescriptor(await readHead(piece, SECTOR_BYTES));
}

/** qemu follows the embedded descriptor of a sparse extent that says it has no capacity. */
function hidesDescriptor(head: Buffer): boolean {
  return head.toString("latin1", 0, 4) === "KDMV" && (head.length < 20 || head.readBigUInt64LE(12) === 0n);
}

function invalid(path: string, why: string, cause?: unknown): DoppelError {
  return new DoppelError("disk-image-invalid", `${path} is no sound disk image: ${why}`, { cause });
}
