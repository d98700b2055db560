import { type Writes, writesBetween } from "./activity.ts";
import { type DatabaseAddress, withDatabase } from "./address.ts";
import { engineOf } from "./engines.ts";
import { besideName, type SafetyCopy, verifySafetyCopy } from "./safety-copy.ts";

/** What was written to the database since the copy was begun: what a restore would lose. */
export async function writesSince(address: DatabaseAddress, copy: SafetyCopy): Promise<Writes> {
  return writesBetween(copy.activity, await engineOf(address).activity(address));
}

/** The databases that a restore and its undoing make; the same ones let one that was cut off go on. */
export interface RestoreNames {
  /** Where the copy is loaded, before it takes the database's name. */
  replacement: string;
  /** What the content from before is called afterwards. */
  kept: string;
  /** What the restored content is called once the restore was taken back. */
  aside: string;
}

export function restoreNames(database: string): RestoreNames {
  const beside = (purpose: string) => besideName(database, purpose);
  return { replacement: beside("restored"), kept: beside("kept"), aside: beside("aside") };
}

/** How far a restore with these names has come, or its undoing. `begun`: something of it is there that is to be gone in the end. */
export async function restoreState(
  address: DatabaseAddress,
  { replacement, kept }: RestoreNames,
): Promise<"new" | "begun" | "done"> {
  const engine = engineOf(address);
  if (await engine.exists(withDatabase(address, replacement))) return "begun";
  if (await engine.isReplaced(address, replacement, kept)) return "done";
  return (await engine.exists(withDatabase(address, kept))) ? "begun" : "new";
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
  /** The database that has the content from before the restore. */
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
  { replacement, kept }: Pick<RestoreNames, "replacement" | "kept"> = restoreNames(address.database),
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
    await engine.dropEmpty(address, kept);
    throw error;
  }
}

/**
 * Takes a restore back, however far it had come: the database has its content from before it again. What it was after the
 * restore is kept as `aside`; true when there is such a one. What was loaded only, and nobody has used, is dropped.
 */
export async function undoRestore(address: DatabaseAddress, names: RestoreNames): Promise<boolean> {
  const engine = engineOf(address);
  if (await finishRestore(address, names)) {
    await engine.replace(address, names.kept, names.aside);
    return true;
  }
  await engine.drop(address, names.replacement);
  await engine.dropEmpty(address, names.kept);
  return await engine.exists(withDatabase(address, names.aside));
}
