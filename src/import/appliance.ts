import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { extract, type Header } from "tar-stream";
import { DoppelError, systemErrorCode, wrapError } from "../errors.ts";
import { printable } from "../printable.ts";
import type { DiskFile } from "./disk-source.ts";
import { type OvfMachineEntry, parseOvf } from "./ovf-document.ts";

/** One machine of somebody else's making, with where its disks are. */
export interface Appliance {
  machine: OvfMachineEntry;
  /** In the order of `machine.disks`. */
  files: DiskFile[];
}

interface Member extends DiskFile {
  digests: Map<string, string>;
}

const MOST_TEXT_BYTES = 8 * 1024 * 1024;
const ALGORITHMS = ["sha1", "sha256", "sha512"];
const PIECE_BYTES = 1024 * 1024;

/**
 * Reads an OVA (DMTF DSP0243, 5.3): the descriptor, where in the file each disk lies, and whether every member is what the manifest
 * says. The disks stay where they are. Throws `appliance-invalid`.
 */
export async function openOva(
  path: string,
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<Appliance> {
  const members = new Map<string, Member>();
  let descriptor: { name: string; text: string } | undefined;
  let manifest: string | undefined;
  const tar = extract();
  const reading = pipeline(createReadStream(path, { highWaterMark: PIECE_BYTES }), tar, {
    ...(signal ? { signal } : {}),
  });
  reading.catch(() => {});
  try {
    for await (const entry of tar) {
      const header = entry.header as Header & { byteOffset: number };
      const name = memberName(header, path);
      const text = /\.(?:ovf|mf)$/i.test(name);
      const algorithms = manifest === undefined ? ALGORITHMS : algorithmsOf(manifest);
      const { digests, content } = await digestMember(entry, algorithms, text, onBytes);
      const sizeBytes = header.size ?? 0;
      members.set(name, {
        path,
        label: `${name} of ${path}`,
        offsetBytes: header.byteOffset,
        sizeBytes,
        digests,
      });
      // The descriptor comes first (5.3): a second one would be somebody else's.
      if (/\.ovf$/i.test(name)) descriptor ??= { name, text: content.toString("utf8") };
      if (/\.mf$/i.test(name)) manifest ??= content.toString("utf8");
    }
    await reading;
  } catch (error) {
    signal?.throwIfAborted();
    throw wrapError(error, "appliance-invalid", `${path} is no OVA that can be read`);
  }
  if (!descriptor) throw invalid(path, "it holds no OVF descriptor");
  if (manifest !== undefined) checkManifest(manifest, members, path);
  const machine = parseOvf(descriptor.text, `${descriptor.name} of ${path}`);
  return { machine, files: filesOf(machine, path, (name) => members.get(name)) };
}

/** Reads an OVF descriptor with its files beside it. Throws `appliance-invalid`. */
export async function openOvf(path: string, onBytes: (bytes: number) => void): Promise<Appliance> {
  const folder = dirname(path);
  const machine = parseOvf(await readText(path), path);
  const members = new Map<string, Member>();
  const manifest = await readText(path.replace(/\.ovf$/i, ".mf")).catch((error: unknown) => {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  });
  const listed = manifest === undefined ? [] : manifestLines(manifest, path).map(({ name }) => name);
  for (const name of new Set([...machine.disks.flatMap(({ fileName }) => fileName ?? []), ...listed])) {
    checkName(name, path);
    const file = join(folder, name);
    const found = await lstat(file).catch(() => undefined);
    if (!found?.isFile()) throw invalid(path, `there is no file '${name}' beside it`);
    const stream = createReadStream(file, { highWaterMark: PIECE_BYTES });
    const algorithms = manifest === undefined ? [] : algorithmsOf(manifest);
    const digests =
      algorithms.length > 0 ? (await digestMember(stream, algorithms, false, onBytes)).digests : new Map();
    members.set(name, { path: file, label: file, digests });
  }
  if (manifest !== undefined) checkManifest(manifest, members, path);
  return { machine, files: filesOf(machine, path, (name) => members.get(name)) };
}

function filesOf(
  machine: OvfMachineEntry,
  path: string,
  find: (name: string) => Member | undefined,
): DiskFile[] {
  if (machine.disks.length === 0) throw invalid(path, "its machine has no disk");
  return machine.disks.map(({ fileName, compressed }) => {
    if (fileName === undefined) throw invalid(path, "a disk of its machine has no file");
    if (compressed) throw invalid(path, `its file '${fileName}' is compressed once more, which is not read`);
    checkName(fileName, path);
    const member = find(fileName);
    if (!member) throw invalid(path, `it names a file '${fileName}' that it does not hold`);
    const { digests: _, ...file } = member;
    return file;
  });
}

async function digestMember(
  content: AsyncIterable<unknown>,
  algorithms: readonly string[],
  keep: boolean,
  onBytes: (bytes: number) => void,
): Promise<{ digests: Map<string, string>; content: Buffer }> {
  const hashes = algorithms.map((name): [string, Hash] => [name, createHash(name)]);
  const kept: Buffer[] = [];
  let keptBytes = 0;
  for await (const piece of content as AsyncIterable<Buffer>) {
    for (const [, hash] of hashes) hash.update(piece);
    onBytes(piece.length);
    if (!keep) continue;
    kept.push(piece);
    keptBytes += piece.length;
    if (keptBytes > MOST_TEXT_BYTES)
      throw new DoppelError(
        "appliance-invalid",
        `a descriptor or manifest has more than ${MOST_TEXT_BYTES} bytes`,
      );
  }
  return {
    digests: new Map(hashes.map(([name, hash]) => [name, hash.digest("hex")])),
    content: Buffer.concat(kept),
  };
}

/** Every file of the manifest is there and is what it says; nothing but the manifest's own files is left out of it. */
function checkManifest(manifest: string, members: ReadonlyMap<string, Member>, path: string): void {
  const lines = manifestLines(manifest, path);
  for (const { algorithm, name, digest } of lines) {
    const found = members.get(name)?.digests.get(algorithm);
    if (found === undefined)
      throw invalid(path, `its manifest lists '${printable(name)}', which is not there`);
    if (found !== digest)
      throw invalid(path, `'${printable(name)}' has the ${algorithm} ${found}, its manifest says ${digest}`);
  }
  for (const name of members.keys())
    if (!/\.(?:mf|cert|ovf)$/i.test(name) && !lines.some((line) => line.name === name))
      throw invalid(path, `its manifest does not list '${printable(name)}'`);
}

/** `SHA256(disk.vmdk)= 0123…` (DSP0243, 5.1). */
function manifestLines(
  manifest: string,
  path: string,
): { algorithm: string; name: string; digest: string }[] {
  return manifest
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [, algorithm, name, digest] =
        /^\s*(SHA1|SHA256|SHA512)\s*\((.*)\)\s*=\s*([0-9a-fA-F]+)\s*$/i.exec(line) ?? [];
      if (algorithm === undefined || name === undefined || digest === undefined)
        throw invalid(path, `its manifest has a line that is none: ${printable(line)}`);
      return { algorithm: algorithm.toLowerCase(), name, digest: digest.toLowerCase() };
    });
}

function algorithmsOf(manifest: string): string[] {
  const named = [...manifest.matchAll(/^\s*(SHA1|SHA256|SHA512)\s*\(/gim)].map(([, name = ""]) =>
    name.toLowerCase(),
  );
  return [...new Set(named)];
}

function memberName({ name, type }: Header, path: string): string {
  const plain = name.replace(/^\.\//, "");
  if (type !== "file" && type !== "contiguous-file")
    throw invalid(path, `its member '${printable(name)}' is no file`);
  checkName(plain, path);
  return plain;
}

/** The members of an OVA and the files of an OVF lie side by side: no name leads elsewhere. */
function checkName(name: string, path: string): void {
  if (name !== "" && name === basename(name) && name !== "." && name !== ".." && !/[\\\0:]/.test(name))
    return;
  throw invalid(path, `it names a file '${printable(name)}', which could lie elsewhere`);
}

async function readText(path: string): Promise<string> {
  const { size } = await lstat(path);
  if (size > MOST_TEXT_BYTES) throw invalid(path, `it has ${size} bytes`);
  return await readFile(path, "utf8");
}

function invalid(path: string, why: string): DoppelError {
  return new DoppelError("appliance-invalid", `${path} cannot be taken: ${why}`);
}
