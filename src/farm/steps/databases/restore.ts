import { randomBytes } from "node:crypto";
import { DoppelError, EXIT } from "../../../errors.ts";
import type { FarmContext } from "../../context.ts";
import { type DatabaseAddress, withDatabase } from "../../databases/address.ts";
import { restoreByCommand } from "../../databases/commands.ts";
import { engineOf } from "../../databases/engines.ts";
import {
  finishRestore,
  restoreDatabase,
  restoreNames,
  restoreState,
  undoRestore,
} from "../../databases/restore.ts";
import type { Step } from "../../engine/step.ts";
import type { CommandDatabase, FarmDatabase, SqlDatabase } from "../../file/databases.ts";
import { json } from "../../journal/entry.ts";
import { lastRun, lookingStep } from "../recorded.ts";
import { type RecordedCopy, safetyCopies } from "./records.ts";
import { dropId, knownRestores, type RestoreRequest, restoreId, restoreRequest } from "./restores.ts";

/** A new request, of the newest safety copy or the one of that file. `no-safety-copy` (exit 3) when there is none. */
export async function requestRestore(
  context: FarmContext,
  database: FarmDatabase,
  file?: string,
): Promise<RestoreRequest> {
  const copy = copyOf(context, database.name, file);
  const names =
    database.engine === "commands"
      ? { replacement: "", kept: randomBytes(6).toString("hex"), aside: "" }
      : restoreNames((await context.databases.live(database)).database);
  return { database: database.name, copy: copy.file, ...names };
}

/** The request of the last restore, to undo it. `nothing-restored` (exit 3) when there is none, or nothing to go back to. */
export function lastRestore({ journal }: FarmContext, { name, engine }: FarmDatabase): RestoreRequest {
  if (engine === "commands")
    throw nothingRestored(`${name} is restored by its command, which keeps nothing to go back to`);
  const entries = journal.entries();
  const started = entries.findLast(
    ({ event }) => event.kind === "step-started" && event.step === restoreId(name),
  );
  const request = restoreRequest.safeParse(
    started?.event.kind === "step-started" ? started.event.inputs : undefined,
  );
  if (!request.success) throw nothingRestored(`${name} was never restored: there is nothing to undo`);
  const { kept } = request.data;
  const isDropped = lastRun(entries, dropId(name, kept)) !== undefined;
  if (isDropped) throw nothingRestored(`${kept}, what ${name} was before its last restore, was dropped`);
  return request.data;
}

function nothingRestored(message: string): DoppelError {
  return new DoppelError("nothing-restored", message, { exitCode: EXIT.refused });
}

/** The recorded copy of that file, or the newest. */
export function copyOf({ journal }: FarmContext, name: string, file?: string): RecordedCopy {
  const copies = safetyCopies(journal.entries(), name);
  const copy = file === undefined ? copies.at(-1) : copies.find((one) => one.file === file);
  if (copy) return copy;
  const what = file === undefined ? "there is none" : `the journal knows none in ${file}`;
  const known = copies.map((one) => one.file).join(", ");
  throw new DoppelError("no-safety-copy", `${name} cannot be restored from a safety copy: ${what}`, {
    hint: known === "" ? "nothing can be restored; 'databases copy' makes one" : `there are ${known}`,
    exitCode: EXIT.refused,
  });
}

/** Puts a safety copy in the place of the live database. Undone by putting back what was there. */
export function restoreStep(context: FarmContext, database: FarmDatabase, request: RestoreRequest): Step {
  return database.engine === "commands"
    ? commandStep(context, database, request)
    : sqlStep(context, database, request);
}

function sqlStep(context: FarmContext, database: SqlDatabase, request: RestoreRequest): Step {
  const { name } = database;
  const { kept, replacement, aside } = request;
  const live = () => context.databases.live(database);
  return {
    id: restoreId(name),
    title: `restore ${name} from ${request.copy}`,
    inputs: { ...request },
    undoes: `gives ${name} the content that is kept as ${kept} again`,
    undoTitle: `give ${name} the content that is kept as ${kept} again`,
    probe: async () => {
      const state = await restoreState(await live(), request);
      if (state === "new") return { state: "absent" };
      if (state === "begun") return { state: "partial", why: `${replacement} or ${kept} is there still` };
      return { state: "done", result: { kept } };
    },
    run: async (signal) => {
      const address = await live();
      if (await finishRestore(address, request)) return { kept };
      const copy = copyOf(context, name, request.copy).sql;
      if (!copy) throw new DoppelError("no-safety-copy", `${request.copy} is no copy of ${name}`);
      await clearEarlier(context, database, address);
      return json.parse(await restoreDatabase(address, copy, signal, request));
    },
    undo: async () => {
      if (await undoRestore(await live(), request))
        context.tell(`${name}: what it was after the restore is kept as ${aside}`);
    },
  };
}

/** Drops what earlier restores that were cut off had loaded: nobody has used it, and the file that it came from is there. */
async function clearEarlier(
  { journal, tell }: FarmContext,
  { name }: SqlDatabase,
  live: DatabaseAddress,
): Promise<void> {
  const engine = engineOf(live);
  for (const { request, state } of knownRestores(journal.entries(), name)) {
    if (state !== "cut off" || !(await engine.exists(withDatabase(live, request.replacement)))) continue;
    await engine.drop(live, request.replacement);
    tell(`${name}: dropped ${request.replacement}, which a restore that was cut off had loaded`);
  }
}

/** By the file's command, which the journal knows to have run. */
function commandStep(
  context: FarmContext,
  { name, commands }: CommandDatabase,
  request: RestoreRequest,
): Step {
  return lookingStep(context.journal, {
    id: restoreId(name),
    title: `restore ${name} from ${request.copy}`,
    inputs: { ...request },
    undoes: "nothing: the file names no command for it",
    after: [],
    look: async (signal) => {
      const { file, bytes, sha256 } = copyOf(context, name, request.copy);
      await restoreByCommand(commands, { file, bytes, sha256, seconds: 0 }, signal);
      return { restored: file };
    },
  });
}
