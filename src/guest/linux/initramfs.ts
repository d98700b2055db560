import { gunzipSync } from "node:zlib";
import { DoppelError } from "../../errors.ts";
import { runProgramBytes } from "../../run-program.ts";
import { type CpioMember, decodeCpio, encodeCpio, FOLDER_MODE, isCpio, isRegularFile } from "./cpio.ts";

/** Most bytes that an initramfs may have, unpacked: bounds memory whatever a guest holds. */
const MOST_BYTES = 1024 * 1024 * 1024;
const MOST_LINKS = 16;
const SYMLINK = 0o120000;
const TYPE_MASK = 0o170000;

interface Compression {
  name: string;
  magic: Buffer;
  /** A program that unpacks its standard input to its standard output; gzip is unpacked here. */
  unpack?: [file: string, ...args: string[]];
}

/** What kernels unpack (kernel, lib/decompress.c), by their first bytes. */
const COMPRESSIONS: readonly Compression[] = [
  { name: "gzip", magic: Buffer.from([0x1f, 0x8b]) },
  { name: "zstd", magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), unpack: ["zstd", "-dcq"] },
  { name: "xz", magic: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]), unpack: ["xz", "-dcq"] },
  { name: "lzma", magic: Buffer.from([0x5d, 0x00, 0x00]), unpack: ["xz", "--format=lzma", "-dcq"] },
  { name: "lz4", magic: Buffer.from([0x02, 0x21, 0x4c, 0x18]), unpack: ["lz4", "-dcq"] },
  { name: "bzip2", magic: Buffer.from("BZh", "latin1"), unpack: ["bzip2", "-dcq"] },
  { name: "lzop", magic: Buffer.from([0x89, 0x4c, 0x5a, 0x4f]), unpack: ["lzop", "-dcq"] },
];

/** An initramfs as the kernel sees it: archives one after another, of which a later member hides an earlier one. */
export class Initramfs {
  readonly #sizeBytes: number;
  readonly #members: Map<string, CpioMember>;
  /** How its main archive is compressed: `none`, `gzip`, `zstd` and so on. */
  readonly compression: string;

  private constructor(sizeBytes: number, members: Map<string, CpioMember>, compression: string) {
    this.#sizeBytes = sizeBytes;
    this.#members = members;
    this.compression = compression;
  }

  /** Unpacks an initramfs. Throws `initramfs-invalid`, or `program-missing` for a compression without its program. */
  static async read(bytes: Buffer): Promise<Initramfs> {
    const members = new Map<string, CpioMember>();
    let compression = "none";
    for (let at = skipZeros(bytes, 0); at < bytes.length; at = skipZeros(bytes, at)) {
      if (isCpio(bytes, at)) {
        at += addArchive(members, bytes.subarray(at));
        continue;
      }
      const found = COMPRESSIONS.find(({ magic }) => bytes.subarray(at, at + magic.length).equals(magic));
      if (!found)
        throw new DoppelError("initramfs-invalid", `the initramfs holds unknown data at byte ${at}`);
      compression = found.name;
      // The rest of the file: where a compressed part ends is known to its own program only.
      addArchives(members, await unpack(found, bytes.subarray(at)));
      break;
    }
    return new Initramfs(bytes.length, members, compression);
  }

  /** The content of a file, links followed; undefined when there is none. */
  file(path: string): Buffer | undefined {
    const member = this.#members.get(this.resolve(path));
    return member && isRegularFile(member) ? member.content : undefined;
  }

  has(path: string): boolean {
    return this.#members.has(this.resolve(path));
  }

  /** Paths of all members that match. */
  paths(pattern: RegExp): string[] {
    return [...this.#members.keys()].filter((path) => pattern.test(path));
  }

  /** Where a path leads when the links on its way are followed; what is not there stays as it is. */
  resolve(path: string): string {
    let rest = path.split("/").filter(Boolean);
    let done: string[] = [];
    for (let links = 0; rest.length > 0; ) {
      const [name = "", ...after] = rest;
      rest = after;
      if (name === "." || name === "..") {
        if (name === "..") done.pop();
        continue;
      }
      const member = this.#members.get([...done, name].join("/"));
      if (member && (member.mode & TYPE_MASK) === SYMLINK && links++ < MOST_LINKS) {
        const target = member.content.toString("utf8");
        if (target.startsWith("/")) done = [];
        rest = [...target.split("/").filter(Boolean), ...rest];
      } else done.push(name);
    }
    return done.join("/");
  }

  /**
   * What is to follow the file so that it has `members`, too: an archive of them. Their paths are resolved first, and only
   * folders that are not there are added: a folder in the place of a link would take the link away.
   */
  addition(members: readonly CpioMember[]): Buffer {
    const added = new Map<string, CpioMember>();
    for (const member of members) {
      const path = this.resolve(member.path);
      const names = path.split("/");
      for (let depth = 1; depth < names.length; depth++) {
        const folder = names.slice(0, depth).join("/");
        if (!this.#members.has(folder) && !added.has(folder))
          added.set(folder, { path: folder, mode: FOLDER_MODE, content: Buffer.alloc(0) });
      }
      added.set(path, { ...member, path });
    }
    const archive = encodeCpio([...added.values()]);
    return Buffer.concat([Buffer.alloc(Math.ceil(this.#sizeBytes / 512) * 512 - this.#sizeBytes), archive]);
  }
}

async function unpack(compression: Compression, bytes: Buffer): Promise<Buffer> {
  try {
    if (!compression.unpack) return gunzipSync(bytes, { maxOutputLength: MOST_BYTES });
    const [file, ...args] = compression.unpack;
    return await runProgramBytes(file, args, { input: bytes, mostBytes: MOST_BYTES, timeoutMs: 300_000 });
  } catch (error) {
    if (error instanceof DoppelError && error.code === "program-missing") throw error;
    throw new DoppelError("initramfs-invalid", `the initramfs is not sound ${compression.name} data`, {
      cause: error,
    });
  }
}

/** Adds the members of archives one after another, to the first thing that is none. */
function addArchives(members: Map<string, CpioMember>, bytes: Buffer): void {
  for (let at = skipZeros(bytes, 0); at < bytes.length && isCpio(bytes, at); at = skipZeros(bytes, at))
    at += addArchive(members, bytes.subarray(at));
}

/** Adds the members of the archive at the start of `bytes`; returns its length. */
function addArchive(members: Map<string, CpioMember>, bytes: Buffer): number {
  const { members: found, endBytes } = decodeCpio(bytes);
  for (const member of found) members.set(member.path, member);
  return endBytes;
}

/** Between archives the kernel skips zeros. */
function skipZeros(bytes: Buffer, from: number): number {
  let at = from;
  while (at < bytes.length && bytes[at] === 0) at++;
  return at;
}
