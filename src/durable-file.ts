import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** The names that `temporaryName` makes, with the number of the process that writes the file. */
export const TEMPORARY_NAME = /\.tmp-(\d+)-[0-9a-f]{12}$/;

/** A name beside `path` that cannot be taken for a finished file. */
export function temporaryName(path: string): string {
  return `${path}.tmp-${process.pid}-${randomBytes(6).toString("hex")}`;
}

/** Makes a folder and its parents, private to the user. */
export async function makePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/** Makes a rename or an unlink in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** The same at once, for what belongs into a transaction of the catalog. */
export function syncFolderNow(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/**
 * Writes a whole file so that a crash leaves the old or the new content, never a mixture: temporary name, fsync,
 * rename, fsync of the folder. Mode 0600. System errors come through with their own codes.
 */
export async function writeDurableFile(path: string, content: string | Buffer): Promise<void> {
  const temporary = temporaryName(path);
  const file = await open(temporary, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
    await file.close();
    await rename(temporary, path);
  } catch (error) {
    await file.close().catch(() => {});
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}
