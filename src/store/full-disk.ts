import { realpathSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { DoppelError, systemErrorCode } from "../errors.ts";

/** No space for a page, and none for the file of SQLite's shared memory (sqlite.org/rescode.html). */
const FULL = ["SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"];
/** A file beside the database cannot be made: for want of space, or of something else. */
const PERHAPS_FULL = "SQLITE_CANTOPEN";
/** Less than this is no space for a write-ahead log. */
const LEAST_BYTES = 65_536;

/** Runs a change of the catalog at `path`. A full disk is told as ENOSPC, whatever SQLite calls it. */
export function toldWhenFull<T>(path: string, change: () => T): T {
  try {
    return change();
  } catch (error) {
    if (!(error instanceof Database.SqliteError) || !isFull(error.code, path)) throw error;
    throw new DoppelError("ENOSPC", `no space left for the catalog ${path}`, {
      hint: "free space there, and run it again; nothing was written by halves",
      cause: error,
    });
  }
}

/** A change that is only worth a try: on a full disk it is left out. */
export function unlessFull(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (systemErrorCode(error) !== "ENOSPC") throw error;
  }
}

function isFull(code: string, path: string): boolean {
  if (code !== PERHAPS_FULL) return FULL.includes(code);
  const { bavail, bsize } = statfsSync(dirname(realpathSync(path)));
  return bavail * bsize < LEAST_BYTES;
}
