import { type FileHandle, open, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder, temporaryName } from "./durable-file.ts";
import { DoppelError, EXIT, systemErrorCode } from "./errors.ts";
import { formatBytes } from "./units.ts";

const SYNC_EVERY_BYTES = 128 * 1024 * 1024;

/**
 * A file written at positions. What is written is pushed to the disk in the background while more comes, so that
 * the final fsync finds little left.
 */
export class OutputFile {
  readonly path: string;
  readonly #file: FileHandle;
  #unsyncedBytes = 0;
  #syncing: Promise<void> | undefined;
  #syncFailure: unknown;

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Creates the file; fails with EEXIST when it is there. */
  static async create(path: string): Promise<OutputFile> {
    return new OutputFile(path, await open(path, "wx", 0o600));
  }

  /** Opens a file that is there, to be written over in place. */
  static async open(path: string): Promise<OutputFile> {
    return new OutputFile(path, await open(path, "r+"));
  }

  async truncate(sizeBytes: number): Promise<void> {
    await this.#file.truncate(sizeBytes);
  }

  /** Writes all of `buffer`; it may be reused once the promise is resolved. */
  async writeAt(buffer: Buffer, offsetBytes: number): Promise<void> {
    let done = 0;
    while (done < buffer.length) {
      const { bytesWritten } = await this.#file.write(buffer, done, buffer.length - done, offsetBytes + done);
      done += bytesWritten;
    }
    this.#pushToDisk(buffer.length);
  }

  /** Writes the buffers one after another. */
  async writeAllAt(buffers: readonly Buffer[], offsetBytes: number): Promise<void> {
    const total = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
    if (total === 0) return;
    const { bytesWritten } = await this.#file.writev(buffers, offsetBytes);
    this.#pushToDisk(bytesWritten);
    if (bytesWritten === total) return;
    await this.writeAt(Buffer.concat(buffers).subarray(bytesWritten), offsetBytes + bytesWritten);
  }

  /** Makes everything durable. */
  async sync(): Promise<void> {
    await this.#syncing;
    if (this.#syncFailure !== undefined) throw this.#syncFailure;
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#syncing;
    await this.#file.close();
  }

  #pushToDisk(bytes: number): void {
    this.#unsyncedBytes += bytes;
    if (this.#unsyncedBytes < SYNC_EVERY_BYTES || this.#syncing) return;
    this.#unsyncedBytes = 0;
    this.#syncing = this.#file
      .datasync()
      .catch((error: unknown) => {
        this.#syncFailure ??= error;
      })
      .finally(() => {
        this.#syncing = undefined;
      });
  }
}

/**
 * Writes a file so that it is there whole or not at all: temporary name, fsync, rename. Nothing is left behind when `write`
 * fails.
 */
export async function writeOutputFile(
  path: string,
  write: (output: OutputFile) => Promise<void>,
): Promise<void> {
  const temporary = temporaryName(path);
  const output = await OutputFile.create(temporary);
  try {
    await write(output);
    await output.sync();
    await output.close();
    await rename(temporary, path);
  } catch (error) {
    await output.close().catch(() => {});
    await rm(temporary, { force: true });
    throw explain(error, path);
  }
  await syncFolder(dirname(path));
}

/** Refuses a path where something is (`file-exists`, exit 3), unless it may be replaced. */
export async function refuseExisting(path: string, force: boolean): Promise<void> {
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

/** Refuses a path on a file system with less room than that (`ENOSPC`). */
export async function requireSpace(path: string, neededBytes: number): Promise<void> {
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

function explain(error: unknown, path: string): unknown {
  if (systemErrorCode(error) !== "ENOSPC") return error;
  return new DoppelError("ENOSPC", `no space left for ${path}`, {
    hint: "free space there or choose another folder; nothing half-written was kept",
    cause: error,
  });
}
