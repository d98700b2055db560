import { extname } from "node:path";
import { DoppelError, EXIT } from "../errors.ts";

/** A format of disk images that qemu reads. */
export interface DiskFormat {
  name: string;
  /** What qemu calls it. */
  driver: string;
  /** Endings by which people call such files. */
  extensions: readonly string[];
  /** Whether a file is one, by its first bytes and its last sector. */
  matches(head: Buffer, tail: Buffer): boolean;
}

/** Bytes at the beginning of a file that tell what it is. */
export const HEAD_BYTES = 4096;
export const TAIL_BYTES = 512;

const VDI_SIGNATURE = 0xbeda107f;

function starts(...marks: string[]): (head: Buffer) => boolean {
  return (head) => marks.some((mark) => head.toString("latin1", 0, mark.length) === mark);
}

/** Each with the mark that its specification, or qemu's own documentation of the format, gives it. */
const FORMATS: readonly DiskFormat[] = [
  { name: "qcow2", driver: "qcow2", extensions: [".qcow2"], matches: (head) => isQcow(head, (v) => v >= 2) },
  { name: "qcow", driver: "qcow", extensions: [".qcow"], matches: (head) => isQcow(head, (v) => v === 1) },
  { name: "qed", driver: "qed", extensions: [".qed"], matches: starts("QED\0") },
  {
    name: "vmdk",
    driver: "vmdk",
    extensions: [".vmdk"],
    matches: starts("KDMV", "COWD", "# Disk DescriptorFile"),
  },
  { name: "vhdx", driver: "vhdx", extensions: [".vhdx"], matches: starts("vhdxfile") },
  { name: "vhd", driver: "vpc", extensions: [".vhd", ".vpc"], matches: starts("conectix") },
  {
    name: "vdi",
    driver: "vdi",
    extensions: [".vdi"],
    matches: (head) => head.length >= 68 && head.readUInt32LE(64) === VDI_SIGNATURE,
  },
  {
    name: "parallels",
    driver: "parallels",
    extensions: [".hds", ".hdd"],
    matches: starts("WithoutFreeSpace", "WithouFreSpacExt"),
  },
];

const RAW: DiskFormat = {
  name: "raw",
  driver: "raw",
  extensions: [".raw", ".img", ".dd", ".bin"],
  matches: () => true,
};

/** A fixed VHD has its mark at its end only, where any disk may have it by chance. */
const FIXED_VHD = FORMATS.find(({ name }) => name === "vhd");

export const DISK_FORMAT_NAMES = [...FORMATS, RAW].map(({ name }) => name);
/** Endings of the files of all formats. */
export const DISK_EXTENSIONS = [...FORMATS, RAW].flatMap(({ extensions }) => extensions);

/** Endings that say that a file is the disk itself, whatever stands in its first sector. */
const RAW_ONLY = new Set([".raw", ".dd", ".bin"]);

/**
 * The format of a disk image, by its content; where the name contradicts it, somebody must say which is meant: a guest can
 * write what looks like a header into the first sector of its raw disk. Throws `disk-image-ambiguous` (exit 3).
 */
export function detectFormat(path: string, head: Buffer, tail: Buffer): DiskFormat {
  const extension = extname(path).toLowerCase();
  const found = FORMATS.find((format) => format.matches(head, tail));
  if (!found) return FIXED_VHD?.extensions.includes(extension) && starts("conectix")(tail) ? FIXED_VHD : RAW;
  if (!RAW_ONLY.has(extension)) return found;
  throw new DoppelError(
    "disk-image-ambiguous",
    `${path} is called a raw disk and begins like a file of format ${found.name}`,
    { hint: `say which it is: --format raw, or --format ${found.name}`, exitCode: EXIT.refused },
  );
}

/** The format of that name, as `--format` has it. Throws `usage`. */
export function formatNamed(name: string): DiskFormat {
  const found = [...FORMATS, RAW].find((format) => format.name === name);
  if (found) return found;
  throw new DoppelError("usage", `'${name}' is no format of disk images`, {
    hint: `there is ${DISK_FORMAT_NAMES.join(", ")}`,
    exitCode: EXIT.usage,
  });
}

function isQcow(head: Buffer, version: (number: number) => boolean): boolean {
  return head.length >= 8 && head.readUInt32BE(0) === 0x514649fb && version(head.readUInt32BE(4));
}
