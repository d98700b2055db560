import { type Writes, writesBetween } from "./activity.ts";
import { type DatabaseAddress, withDatabase } from "./address.ts";
import { engineOf } from "./engines.ts";
import { besideName, type SafetyCopy, verifySafetyCopy } from "./safety-copy.ts";

/** What was written to the database since the copy was begun: what a restore would lose. */
export async function writesSince(address: DatabaseAddress, copy: SafetyCopy): Promise<Writes> {
  return writesBetween(copy.activity, await engineOf(address).activity(address));
}

export interface Restored {
  /** The database that has the content from before the restore, for `undoRestore`. */
  kept: string;
  lost: Writes;
  seconds: number;
}

/**
 * Puts the copy in the database's place: it is loaded into a new database, and the two change names in one step. Sessions of the
 * database are ended. The content from before is kept under another name.
 *
 * Throws `copy-corrupt` (exit 4) before anything is touched; a load that fails leaves the database as it was.
 */
export async function restoreDatabase(
  address: DatabaseAddress,
  copy: SafetyCopy,
  signal?: AbortSignal,
): Promise<Restored> {
  await verifySafetyCopy(copy);
  const engine = engineOf(address);
  const started = performance.now();
  const replacement = besideName(address.database, "restored");
  const kept = besideName(address.database, "kept");
  await engine.create(address, replacement);
  try {
    await engine.load(withDatabase(address, replacement), copy.file, signal);
    signal?.throwIfAborted();
    const lost = await writesSince(address, copy);
    await engine.replace(address, replacement, kept);
    return { kept, lost, seconds: Math.round(performance.now() - started) / 1000 };
  } catch (error) {
    await engine.drop(address, replacement);
    throw error;
  }
}

/** Takes a restore back: the database has its content from before it again. What the copy had become is kept; returns its name. */
export async function undoRestore(address: DatabaseAddress, kept: string): Promise<string> {
  const aside = besideName(address.database, "aside");
  await engineOf(address).replace(address, kept, aside);
  return aside;
}
