import { randomBytes } from "node:crypto";
import { z } from "zod";
import { DoppelError, EXIT } from "../../../errors.ts";
import type { FarmContext } from "../../context.ts";
import { restoreByCommand } from "../../databases/commands.ts";
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
import { lookingStep } from "../recorded.ts";
import { type RecordedCopy, safetyCopies, stepOf } from "./records.ts";

/** One restore, asked for once: its names tell whether it was done, so that a resume does it no second time. */
export const restoreRequest = z.object({
  database: z.string(),
  /** The safety copy's file. */
  copy: z.string(),
  replacement: z.string(),
  kept: z.string(),
});

export type RestoreRequest = z.infer<typeof restoreRequest>;

export const restoreId = (database: string): string => stepOf(database, "restore");

/** A new request, of the newest safety copy or the one of that file. `no-safety-copy` (exit 3) when there is none. */
export async function requestRestore(
  context: FarmContext,
  database: FarmDatabase,
  file?: string,
): Promise<RestoreRequest> {
  const copy = copyOf(context, database.name, file);
  const names =
    database.engine === "commands"
      ? { replacement: "", kept: randomBytes(6).toString("hex") }
      : restoreNames((await context.databases.live(database)).database);
  return { database: database.name, copy: copy.file, ...names };
}

/** The request of the last restore, to undo it. */
export function lastRestore({ journal }: FarmContext, { name }: FarmDatabase): RestoreRequest {
  const started = journal
    .entries()
    .findLast(({ event }) => event.kind === "step-started" && event.step === restoreId(name));
  const request = restoreRequest.safeParse(
    started?.event.kind === "step-started" ? started.event.inputs : undefined,
  );
  if (request.success) return request.data;
  throw new DoppelError("nothing-restored", `${name} was never restored: there is nothing to undo`, {
    exitCode: EXIT.refused,
  });
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
  const { kept, replacement } = request;
  const live = () => context.databases.live(database);
  return {
    id: restoreId(name),
    title: `restore ${name} from ${request.copy}`,
    inputs: { ...request },
    undoes: `gives ${name} the content that is kept as ${kept} again`,
    undoTitle: `give ${name} the content that is kept as ${kept} again`,
    probe: async () => {
      const state = await restoreState(await live(), { kept, replacement });
      if (state === "new") return { state: "absent" };
      if (state === "begun") return { state: "partial", why: `${replacement} is there still` };
      return { state: "done", result: { kept } };
    },
    run: async (signal) => {
      const address = await live();
      if (await finishRestore(address, { kept, replacement })) return { kept };
      const copy = copyOf(context, name, request.copy).sql;
      if (!copy) throw new DoppelError("no-safety-copy", `${request.copy} is no copy of ${name}`);
      return json.parse(await restoreDatabase(address, copy, signal, { kept, replacement }));
    },
    undo: async () => {
      const aside = await undoRestore(await live(), kept);
      context.tell(`${name}: what it was after the restore is kept as ${aside}`);
    },
  };
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
