import { join } from "node:path";
import { DoppelError } from "../../errors.ts";
import { OutputFile } from "../../output-file.ts";
import { runProgram } from "../../run-program.ts";
import type { GuestSystem } from "../guest-system.ts";
import { type Guestfish, SCRATCH_DEVICE } from "../guestfish.ts";
import { ENTRY_FORMAT, type FileEntry, PATH_FIELD, parseEntry } from "./entry.ts";
import { readRecords } from "./records.ts";

/** Parts of the scratch device, in MiB from its start: 64 GiB each, of which only what is written takes space. */
const PART_MIB = 65_536;
const MIB = 1024 * 1024;
export const SCRATCH_BYTES = 8 * PART_MIB * MIB;

/** One of the two machines that are compared, mounted in an appliance that may hold both. */
export interface Side {
  guestfish: Guestfish;
  /** Its file systems lie below this folder of the appliance. */
  folder: string;
  /** Which three parts of the scratch device are its. */
  index: number;
  /** Which disk of the appliance is its first. */
  firstDisk: number;
  /** Tells its devices from those of the other side. */
  isMine: (device: string) => boolean;
  scratch: string;
  workFolder: string;
}

/**
 * Mounts a machine's file systems read-only below `side.folder`; returns those that could not be. `systems` are all of the
 * appliance: inspection unmounts everything, and is over before.
 */
export async function mountSide(side: Side, systems: readonly GuestSystem[]): Promise<string[]> {
  const { guestfish, folder, isMine } = side;
  const [system, ...others] = systems.filter(({ root }) => isMine(root));
  // Of several systems, or none, every file system is looked at under the name of its device.
  const named = !system || others.length > 0;
  const mounts = named ? await namedMounts(side) : ownMounts(system, isMine);
  await guestfish.run("mkmountpoint", folder);
  const skipped: string[] = [];
  for (const { path, device } of mounts) {
    const at = path === "/" ? folder : `${folder}${path}`;
    if (named) await guestfish.tryRun("mkmountpoint", at);
    // The same file system may lie there twice, which XFS takes only when told.
    const options = (await guestfish.tryRun("vfs-type", device)) === "xfs" ? "ro,nouuid" : "ro";
    if ((await guestfish.tryRun("mount-options", options, device, at)) === undefined) skipped.push(path);
  }
  return skipped;
}

/** Under names that are the same on either side: `/disk0-1` is the first partition of the first disk. */
async function namedMounts({ guestfish, isMine, firstDisk }: Side): Promise<GuestSystem["mounts"]> {
  return (await fileSystems(guestfish)).filter(isMine).map((device) => {
    const [, partition = ""] = /^\/dev\/sd[a-z]+(\d*)$/.exec(device) ?? [];
    const number = diskNumber(device) - firstDisk;
    const name = number >= 0 ? `disk${number}${partition && `-${partition}`}` : device.slice("/dev/".length);
    return { path: `/${name.replaceAll("/", "-")}`, device };
  });
}

/** Which disk a device lies on, counted from 0: `/dev/sdb2` on 1; -1 of a volume. */
export function diskNumber(device: string): number {
  let number = 0;
  for (const letter of /^\/dev\/sd([a-z]+)/.exec(device)?.[1] ?? "")
    number = number * 26 + letter.charCodeAt(0) - 96;
  return number - 1;
}

/**
 * fstab names file systems by UUIDs, which of two images of one machine are there twice: where the first of them was taken, the
 * other machine's is meant.
 */
function ownMounts(
  { mounts, root }: GuestSystem,
  isMine: (device: string) => boolean,
): GuestSystem["mounts"] {
  const mine = /^\/dev\/sd([a-z]+)/.exec(root)?.[1];
  return mounts.flatMap((mount) => {
    if (isMine(mount.device) || mine === undefined) return mount;
    const device = mount.device.replace(/^\/dev\/sd[a-z]+/, `/dev/sd${mine}`);
    return isMine(device) ? { ...mount, device } : [];
  });
}

async function fileSystems(guestfish: Guestfish): Promise<string[]> {
  const lines = await guestfish.lines("list-filesystems");
  return lines.flatMap((line) => {
    const [, device, type] = /^(\S+): (\S+)$/.exec(line) ?? [];
    return device !== undefined && type !== "swap" && type !== "unknown" ? device : [];
  });
}

/** Lists every file of a side, sorted by path, in a file of its own; returns its path. */
export async function listFiles(side: Side): Promise<string> {
  await side.guestfish.script(
    `cd /sysroot${side.folder} && { find . -printf ${escapeForShell(ENTRY_FORMAT)} || echo find failed >&2; } | ${toScratch(partOf(side, 0))}`,
  );
  const listed = join(side.workFolder, `list${side.index}`);
  await copyRecords(side, 0, listed);
  const sorted = `${listed}.sorted`;
  const key = ["-z", `-k${PATH_FIELD}`, "-S", "64M", "-T", side.workFolder];
  await runProgram("sort", [...key, "-o", sorted, listed], { env: { LC_ALL: "C" }, timeoutMs: 3_600_000 });
  return sorted;
}

/** The entries of a file that `listFiles` made. */
export async function* readEntries(path: string): AsyncGenerator<FileEntry, void> {
  for await (const record of readRecords(path)) {
    const entry = parseEntry(record);
    if (!entry) throw new DoppelError("guestfs-failed", "the appliance's list of files cannot be understood");
    yield entry;
  }
}

/** The SHA-256 of files, in the order of `paths`; one that cannot be read has none. */
export async function* checksums(
  side: Side,
  paths: () => AsyncIterable<Buffer>,
): AsyncGenerator<string | undefined, void> {
  const bytes = await writeRecords(side.scratch, partOf(side, 1), paths());
  if (bytes === 0) return;
  const blocks = Math.ceil(bytes / MIB);
  const input = `dd if=${SCRATCH_DEVICE} bs=1M skip=${partOf(side, 1)} count=${blocks} 2>/dev/null | head -c ${bytes}`;
  // What cannot be read is left out of the list of sums, and told by that.
  const sum = `{ xargs -0 -r sha256sum -z -- 2>/dev/null || true; }`;
  await side.guestfish.script(
    `cd /sysroot${side.folder} && ${input} | ${sum} | ${toScratch(partOf(side, 2))}`,
  );
  const sums = readRecords(side.scratch, partOf(side, 2) * MIB);
  let next = (await sums.next()).value as Buffer | undefined;
  for await (const path of paths()) {
    const found = next?.subarray(66).equals(path) === true;
    yield found ? next?.toString("latin1", 0, 64) : undefined;
    if (found) next = ((await sums.next()).value as Buffer | undefined) ?? undefined;
  }
}

function escapeForShell(text: string): string {
  return text.replace(/[ \\]/g, "\\$&");
}

function partOf(side: Side, part: number): number {
  return (side.index * 3 + part) * PART_MIB;
}

function toScratch(atMib: number): string {
  return `dd of=${SCRATCH_DEVICE} bs=1M seek=${atMib} iflag=fullblock conv=notrunc,fsync status=none`;
}

async function copyRecords(side: Side, part: number, to: string): Promise<void> {
  const output = await OutputFile.create(to);
  try {
    let at = 0;
    for await (const batch of inBatches(readRecords(side.scratch, partOf(side, part) * MIB))) {
      await output.writeAt(batch, at);
      at += batch.length;
    }
  } finally {
    await output.close();
  }
}

async function writeRecords(path: string, atMib: number, records: AsyncIterable<Buffer>): Promise<number> {
  const output = await OutputFile.open(path);
  let bytes = 0;
  try {
    for await (const batch of inBatches(records)) {
      await output.writeAt(batch, atMib * MIB + bytes);
      bytes += batch.length;
    }
  } finally {
    await output.close();
  }
  return bytes;
}

const BATCH_BYTES = 1024 * 1024;
const END = Buffer.from([0]);

/** Records with their ends, many at a time. */
async function* inBatches(records: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  let pieces: Buffer[] = [];
  let bytes = 0;
  for await (const record of records) {
    pieces.push(Buffer.from(record), END);
    bytes += record.length + 1;
    if (bytes < BATCH_BYTES) continue;
    yield Buffer.concat(pieces);
    pieces = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(pieces);
}
