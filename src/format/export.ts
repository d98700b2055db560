import { stat } from "node:fs/promises";
import { extname, resolve } from "node:path";
import { DoppelError, EXIT } from "../errors.ts";
import type { DiskReader, OpenBlob } from "../image/disk-reader.ts";
import { refuseExisting, requireSpace, writeOutputFile } from "../output-file.ts";
import type { DiskFormat, PreparedDisk, WriteProgress } from "./format.ts";
import { DISK_FORMATS } from "./formats.ts";
import { type OvaSource, writeOva } from "./ova/export.ts";
import { verifyPacks } from "./verify-packs.ts";
import { streamOptimizedFormat } from "./vmdk/stream.ts";

const OVA = "ova";

/** What `--format` takes. */
export const FORMAT_NAMES = [...DISK_FORMATS.map(({ name }) => name), OVA];

export interface FileOptions {
  path: string;
  /** Replace a file that is there. */
  force?: boolean;
  /** Opens a pack once more, to compare its bytes with its digest while the disk is written. */
  openPack?: (digest: string) => Promise<OpenBlob>;
  onProgress?: (progress: WriteProgress) => void;
  signal?: AbortSignal;
}

export interface ExportOptions extends FileOptions {
  format: DiskFormat;
}

export interface ExportResult {
  path: string;
  format: string;
  fileBytes: number;
  elapsedSeconds: number;
}

/** The format of that name, or the one that the file's ending means, else qcow2; `usage` for a name that is none. */
export function chooseFormat(name: string | undefined, path: string): DiskFormat {
  const ending = extname(path).toLowerCase();
  const format =
    name === undefined
      ? (DISK_FORMATS.find(({ extensions }) => extensions.includes(ending)) ?? DISK_FORMATS[0])
      : DISK_FORMATS.find((candidate) => candidate.name === name);
  if (format) return format;
  throw new DoppelError("usage", `'${name}' is not a format that can be written`, {
    hint: `one of ${FORMAT_NAMES.join(", ")}`,
    exitCode: EXIT.usage,
  });
}

/** Writes a disk to a file. Nothing is left behind when it fails or is aborted. */
export async function exportDisk(disk: DiskReader, options: ExportOptions): Promise<ExportResult> {
  return await exportFile([disk], options.format.name, options, () => options.format.prepare(disk));
}

/** Writes all disks of an image, and what the machine was, to an OVA. Nothing is left behind when it fails or is aborted. */
export async function exportOva(source: OvaSource, options: FileOptions): Promise<ExportResult> {
  return await exportFile(source.disks, OVA, options, async () => {
    const prepared = await Promise.all(source.disks.map((disk) => streamOptimizedFormat.prepare(disk)));
    return {
      occupiedBytes: prepared.reduce((sum, { occupiedBytes }) => sum + occupiedBytes, 0),
      write: (output, writeOptions) => writeOva(source, output, writeOptions),
    };
  });
}

/** Whether a file is to be an OVA, which holds all disks of an image. */
export function isOva(name: string | undefined, path: string): boolean {
  return name === undefined ? extname(path).toLowerCase() === `.${OVA}` : name === OVA;
}

/**
 * Writes a file: temporary name, fsync, rename. Refuses an existing one (`file-exists`, exit 3) and a disk without room
 * (`ENOSPC`) before anything is written.
 */
async function exportFile(
  disks: readonly DiskReader[],
  format: string,
  options: FileOptions,
  prepare: () => Promise<PreparedDisk>,
): Promise<ExportResult> {
  const started = performance.now();
  const path = resolve(options.path);
  await refuseExisting(path, options.force === true);
  const prepared = await prepare();
  await requireSpace(path, prepared.occupiedBytes);
  await writeOutputFile(path, async (output) => {
    const { openPack, signal } = options;
    const verified = openPack ? verifyPacks(disks, openPack, signal) : Promise.resolve();
    await Promise.all([prepared.write(output, options), verified]);
  });
  const { size } = await stat(path);
  return { path, format, fileBytes: size, elapsedSeconds: (performance.now() - started) / 1000 };
}
