import { DoppelError } from "../../errors.ts";

/** A member of a cpio archive. Paths are relative, without `./`. */
export interface CpioMember {
  path: string;
  /** File type and permissions as stat(2) has them. */
  mode: number;
  /** A file's content, or the target of a link. */
  content: Buffer;
}

const MAGIC = "070701";
const MAGIC_CHECKSUM = "070702";
const HEADER_BYTES = 110;
const TRAILER = "TRAILER!!!";
export const FILE_MODE = 0o100644;
export const FOLDER_MODE = 0o40755;
const TYPE_MASK = 0o170000;
const MOST_MEMBERS = 200_000;

/**
 * A cpio archive in the `newc` format, of exactly these members: the folders that they lie in must be there already or be
 * members before them (kernel, Documentation/driver-api/early-userspace/buffer-format.rst).
 */
export function encodeCpio(members: readonly CpioMember[]): Buffer {
  const parts: Buffer[] = [];
  for (const [index, member] of members.entries()) parts.push(encodeMember(member, index + 1));
  parts.push(encodeMember({ path: TRAILER, mode: 0, content: Buffer.alloc(0) }, 0));
  return Buffer.concat(parts);
}

/**
 * Reads one `newc` archive from the start of `bytes`; returns its members and where it ends. Throws `initramfs-invalid`
 * when it is none, is cut short, or names a path that leads out of its root.
 */
export function decodeCpio(bytes: Buffer): { members: CpioMember[]; endBytes: number } {
  const members: CpioMember[] = [];
  let at = 0;
  for (;;) {
    const header = bytes.toString("latin1", at, at + HEADER_BYTES);
    if (header.length < HEADER_BYTES || !isCpio(bytes, at)) throw invalid("no cpio header", at);
    const field = (index: number) => Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
    const mode = field(1);
    const contentBytes = field(6);
    const nameBytes = field(11);
    if (![mode, contentBytes, nameBytes].every(Number.isSafeInteger) || nameBytes < 1)
      throw invalid("a header is no cpio header", at);
    const contentAt = align4(at + HEADER_BYTES + nameBytes);
    const end = contentAt + contentBytes;
    if (end > bytes.length) throw invalid("a member is cut short", at);
    const path = bytes.toString("utf8", at + HEADER_BYTES, at + HEADER_BYTES + nameBytes - 1);
    at = align4(end);
    if (path === TRAILER) return { members, endBytes: Math.min(at, bytes.length) };
    if (members.length >= MOST_MEMBERS) throw invalid("too many members", at);
    members.push({ path: cleanPath(path), mode, content: bytes.subarray(contentAt, end) });
  }
}

/** True when a cpio archive begins there. */
export function isCpio(bytes: Buffer, at: number): boolean {
  const magic = bytes.toString("latin1", at, at + 6);
  return magic === MAGIC || magic === MAGIC_CHECKSUM;
}

export function isRegularFile({ mode }: CpioMember): boolean {
  return (mode & TYPE_MASK) === 0o100000;
}

function encodeMember({ path, mode, content }: CpioMember, inode: number): Buffer {
  const name = Buffer.from(`${path}\0`, "utf8");
  const links = (mode & TYPE_MASK) === 0o40000 ? 2 : 1;
  const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, 0, 0, name.length, 0];
  const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, "0")).join("");
  const nameEnd = HEADER_BYTES + name.length;
  return Buffer.concat([
    Buffer.from(header, "latin1"),
    name,
    Buffer.alloc(align4(nameEnd) - nameEnd),
    content,
    Buffer.alloc(align4(content.length) - content.length),
  ]);
}

function cleanPath(path: string): string {
  const clean = path.replace(/^\.?\/+/, "");
  if (clean.split("/").includes("..")) throw invalid(`a member is named '${path}'`, 0);
  return clean;
}

function align4(value: number): number {
  return Math.ceil(value / 4) * 4;
}

function invalid(what: string, at: number): DoppelError {
  return new DoppelError("initramfs-invalid", `the initramfs cannot be read: ${what} at byte ${at}`);
}
