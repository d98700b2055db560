import { type Writes, writesBetween } from "./activity.ts";
import { type DatabaseAddress, withDatabase } from "./address.ts";
import { engineOf } from "./engines.ts";
import { besideName, type SafetyCopy, verifySafetyCopy } from "./safety-copy.ts";

/** What was written to the database since the copy was begun: what a restore would lose. */
export async function writesSince(address: DatabaseAddress, copy: SafetyCopy): Promise<Writes> {
  return writesBetween(copy.activity, await engineOf(address).activity(address));
}

/** The databases that a restore makes; the same ones let a restore that was cut off go on. */
export interface RestoreNames {
  /** Where the copy is loaded, before it takes the database's name. */
  replacement: string;
  /** What the content from before is called afterwards. */
  kept: string;
}

export function restoreNames(database: string): RestoreNames {
  return { replacement: besideName(database, "restored"), kept: besideName(database, "kept") };
}

/** How far a restore with these names has come. */
export async function restoreState(
  address: DatabaseAddress,
  { replacement, kept }: RestoreNames,
): Promise<"new" | "begun" | "done"> {
  const engine = engineOf(address);
  const left = await engine.exists(withDatabase(address, replacement));
  if (left) return "begun";
  return (await engine.isReplaced(address, replacement, kept)) ? "done" : "new";
}

/** Clears what a restore left whose databases have changed names already; false when they have not. */
export async function finishRestore(
  address: DatabaseAddress,
  { replacement, kept }: RestoreNames,
): Promise<boolean> {
  const engine = engineOf(address);
  if (!(await engine.isReplaced(address, replacement, kept))) return false;
  await engine.drop(address, replacement);
  return true;
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
  { replacement, kept }: RestoreNames = restoreNames(address.database),
): Promise<Restored> {
  await verifySafetyCopy(copy);
  const engine = engineOf(address);
  const started = performance.now();
  // What a restore that was cut off had loaded, or had emptied already.
  await engine.drop(address, replacement);
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
export async function undoRestore(
  address: DatabaseAddress,
  kept: string,
  aside: string = besideName(address.database, "aside"),
): Promise<string> {
  await engineOf(address).replace(address, kept, aside);
  return aside;
}
