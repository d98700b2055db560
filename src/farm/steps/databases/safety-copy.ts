import { createHash } from "node:crypto";
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { TEMPORARY_NAME } from "../../../durable-file.ts";
import type { FarmContext } from "../../context.ts";
import { type DatabaseAddress, withDatabase } from "../../databases/address.ts";
import { safetyCopyByCommand } from "../../databases/commands.ts";
import { engineOf } from "../../databases/engines.ts";
import { makeSafetyCopy } from "../../databases/safety-copy.ts";
import type { Step } from "../../engine/step.ts";
import type { FarmDatabase } from "../../file/databases.ts";
import { type Json, json } from "../../journal/entry.ts";
import { type RecordedCopy, safetyCopies, stepOf } from "./records.ts";

export interface SafetyCopyDemands {
  /** Its restore is tried. */
  rehearse: boolean;
  /** Older than this, a new one is made; milliseconds. */
  maxAgeMs: number;
}

/** Makes a safety copy, to go back to. One that is there, is of this database and is young enough is left as it is. */
export function safetyCopyStep(
  context: FarmContext,
  database: FarmDatabase,
  { rehearse, maxAgeMs }: SafetyCopyDemands,
): Step {
  const { name } = database;
  const folder = folderOf(context, database);
  const prefix = prefixOf(context, database);
  let made: Json | undefined;
  return {
    id: stepOf(name, "safety-copy"),
    title: `make a safety copy of ${name}${rehearse ? " and rehearse its restore" : ""}`,
    inputs: { folder, rehearse, maxAgeMs },
    undoes: `nothing: safety copies stay in ${folder}`,
    probe: async () => {
      if (made !== undefined) return { state: "done", result: made };
      const copy = safetyCopies(context.journal.entries(), name).at(-1);
      if (!copy || !isYoung(copy.begun, maxAgeMs) || (rehearse && !copy.rehearsed))
        return { state: "absent" };
      const wrong = await whyUnusable(context, database, copy);
      return wrong === undefined ? { state: "done", result: copy.result } : { state: "absent" };
    },
    run: async (signal) => {
      await removeAll(await leftovers(folder, prefix));
      const file = join(folder, `${prefix}${stampedName()}`);
      made = json.parse(await write(context, database, file, rehearse, signal));
      return made;
    },
  };
}

/** What a safety copy that was cut off has left is taken away by its undo: what was dumped, and where its restore was rehearsed. */
export function unfinishedCopyStep(context: FarmContext, database: FarmDatabase): Step {
  const { name } = database;
  const folder = folderOf(context, database);
  const files = () => leftovers(folder, prefixOf(context, database));
  const rehearsal = async () => {
    if (database.engine === "commands") return undefined;
    const live = await context.databases.live(database);
    const scratch = rehearsalName(context.farm.spec.name, name, live);
    return (await engineOf(live).exists(withDatabase(live, scratch))) ? { live, scratch } : undefined;
  };
  return {
    id: stepOf(name, "unfinished-copy"),
    title: `leave what a safety copy of ${name} that is cut off has written`,
    inputs: { folder },
    undoes: "takes it away",
    undoTitle: `take away what a safety copy of ${name} that was cut off has left`,
    probe: async () => {
      const left = [...(await files()), ...((await rehearsal()) ? ["its rehearsal"] : [])];
      return left.length > 0 ? { state: "partial", why: `${left.join(", ")} is there` } : { state: "absent" };
    },
    run: async () => null,
    undo: async () => {
      const found = await rehearsal();
      if (found) await engineOf(found.live).drop(found.live, found.scratch);
      await removeAll(await files());
    },
  };
}

/** Why a copy of the journal cannot be gone back to, from a look at its file's size; undefined when it can. */
export async function whyUnusable(
  { databases }: FarmContext,
  database: FarmDatabase,
  copy: RecordedCopy,
): Promise<string | undefined> {
  const found = await stat(copy.file).catch(() => undefined);
  if (!found) return `${copy.file} is gone`;
  if (found.size !== copy.bytes) return `${copy.file} has ${found.size} bytes instead of ${copy.bytes}`;
  if (database.engine === "commands") return undefined;
  const live = await databases.live(database);
  const { identity } = await engineOf(live).facts(live);
  return copy.sql?.identity === identity ? undefined : `${copy.file} is a copy of another database`;
}

/** From the future counts as old: a clock was wrong. */
export function isYoung(begun: string, maxAgeMs: number, nowMs = Date.now()): boolean {
  const ageMs = nowMs - Date.parse(begun);
  return ageMs >= 0 && ageMs <= maxAgeMs;
}

async function write(
  { databases, farm }: FarmContext,
  database: FarmDatabase,
  file: string,
  rehearse: boolean,
  signal: AbortSignal,
) {
  if (database.engine === "commands")
    return await safetyCopyByCommand(database.commands, file, { rehearse, signal });
  const live = await databases.live(database);
  const scratch = rehearsalName(farm.spec.name, database.name, live);
  return await makeSafetyCopy(live, file, { rehearse, scratch, signal });
}

/** Where restores are rehearsed; the same name every time, so that what a killed rehearsal left is found and dropped. */
export function rehearsalName(farm: string, database: string, live: DatabaseAddress): string {
  const mark = createHash("sha256").update(`${farm}/${database}`).digest("hex").slice(0, 8);
  return `${live.database.slice(0, 40)}_rehearsal_${mark}`;
}

function folderOf({ farm, store }: FarmContext, { name, safetyCopies }: FarmDatabase): string {
  return safetyCopies === undefined
    ? join(store.home, "farms", farm.spec.name, name)
    : farm.resolve(safetyCopies);
}

async function removeAll(files: readonly string[]): Promise<void> {
  for (const file of files) await rm(file, { force: true });
}

function prefixOf({ farm }: FarmContext, { name }: FarmDatabase): string {
  return `${farm.spec.name}-${name}-`;
}

/** `20261130T142435Z.dump`, after the prefix. */
function stampedName(): string {
  return `${new Date().toISOString().replace(/[-:]|\.\d+/g, "")}.dump`;
}

/**
 * What copies that were killed have written. Whoever makes copies holds the farm's lease, so that nobody writes it now; those of
 * another database whose name begins with this one's are not meant.
 */
export async function leftovers(folder: string, prefix: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => name.startsWith(prefix) && /^\d{8}T\d{6}Z\.dump\.tmp-/.test(name.slice(prefix.length)))
    .filter((name) => TEMPORARY_NAME.test(name))
    .map((name) => join(folder, name));
}
