import { createHash } from "node:crypto";
import { rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, extname, resolve } from "node:path";
import { syncFolder, temporaryName } from "../durable-file.ts";
import { DoppelError, EXIT, systemErrorCode } from "../errors.ts";
import type { DiskReader, OpenBlob } from "../image/disk-reader.ts";
import { formatBytes } from "../units.ts";
import type { DiskFormat, WriteProgress } from "./format.ts";
import { DISK_FORMATS } from "./formats.ts";
import { OutputFile } from "./output-file.ts";

export interface ExportOptions {
  path: string;
  format: DiskFormat;
  /** Replace a file that is there. */
  force?: boolean;
  /** Opens a pack once more, to compare its bytes with its digest while the disk is written. */
  openPack?: (digest: string) => Promise<OpenBlob>;
  onProgress?: (progress: WriteProgress) => void;
  signal?: AbortSignal;
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
    hint: `one of ${DISK_FORMATS.map((known) => known.name).join(", ")}`,
    exitCode: EXIT.usage,
  });
}

/**
 * Writes a disk to a file: temporary name, fsync, rename. Nothing is left behind when it fails or is aborted.
 * Refuses an existing file (`file-exists`, exit 3) and a disk without room (`ENOSPC`) before anything is written.
 */
export async function exportDisk(disk: DiskReader, options: ExportOptions): Promise<ExportResult> {
  const started = performance.now();
  const path = resolve(options.path);
  await refuseExisting(path, options.force === true);
  const prepared = await options.format.prepare(disk);
  await requireSpace(path, prepared.occupiedBytes);
  const temporary = temporaryName(path);
  const output = await OutputFile.create(temporary);
  try {
    const verified = options.openPack
      ? verifyPacks(disk, options.openPack, options.signal)
      : Promise.resolve();
    await Promise.all([prepared.write(output, options), verified]);
    await output.sync();
    await output.close();
    await rename(temporary, path);
  } catch (error) {
    await output.close().catch(() => {});
    await rm(temporary, { force: true });
    throw explain(error, path);
  }
  await syncFolder(dirname(path));
  const { size } = await stat(path);
  return {
    path,
    format: options.format.name,
    fileBytes: size,
    elapsedSeconds: (performance.now() - started) / 1000,
  };
}

async function refuseExisting(path: string, force: boolean): Promise<void> {
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (!exists || force) return;
  throw new DoppelError("file-exists", `${path} exists already`, {
    hint: "choose another name, or replace it with --force",
    exitCode: EXIT.refused,
  });
}

async function requireSpace(path: string, neededBytes: number): Promise<void> {
  const folder = dirname(path);
  const space = await statfs(folder).catch((cause: unknown) => {
    throw new DoppelError("folder-missing", `the folder ${folder} cannot be used`, {
      cause,
      hint: "make it first",
    });
  });
  const free = space.bavail * space.bsize;
  if (free >= neededBytes) return;
  throw new DoppelError(
    "ENOSPC",
    `${path} needs ${formatBytes(neededBytes)}, ${folder} has ${formatBytes(free)} free`,
    {
      hint: "choose a folder with more space",
    },
  );
}

/** Bit rot must not pass silently, although frames are only copied: each pack's bytes are compared with its digest. */
async function verifyPacks(
  disk: DiskReader,
  openPack: (digest: string) => Promise<OpenBlob>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(4 * 1024 * 1024);
  for (const { digest } of disk.map.packs) {
    await using blob = await openPack(digest);
    const hash = createHash("sha256");
    for (let at = 0; at < blob.sizeBytes; at += buffer.length) {
      signal?.throwIfAborted();
      const piece = buffer.subarray(0, Math.min(buffer.length, blob.sizeBytes - at));
      await blob.read(piece, at);
      hash.update(piece);
    }
    if (`sha256:${hash.digest("hex")}` !== digest) {
      throw new DoppelError(
        "pack-corrupt",
        `pack ${digest} does not match its digest: the file was not written`,
        {
          hint: "run 'doppel images verify' on the image to see which clusters are hurt",
        },
      );
    }
  }
}

function explain(error: unknown, path: string): unknown {
  if (systemErrorCode(error) !== "ENOSPC") return error;
  return new DoppelError("ENOSPC", `no space left for ${path}`, {
    hint: "free space there or choose another folder; nothing half-written was kept",
    cause: error,
  });
}
