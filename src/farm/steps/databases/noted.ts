import type { FarmContext } from "../../context.ts";
import { engineOf } from "../../databases/engines.ts";
import type { Step } from "../../engine/step.ts";
import type { SqlDatabase } from "../../file/databases.ts";
import { type Json, json } from "../../journal/entry.ts";
import { lastRun } from "../recorded.ts";
import { hasOldVersion } from "../routing.ts";

export const notedId = (database: string): string => `switch/noted/${database}`;

/** Notes just before the switch what a database has counted of its writes: a way back can then say what was written since. */
export function notedStep(context: FarmContext, database: SqlDatabase): Step {
  const id = notedId(database.name);
  let noted: Json | undefined;
  return {
    id,
    title: `note what was written to ${database.name} until now`,
    inputs: {},
    undoes: "nothing: it only looks",
    probe: async (signal) => {
      if (!noted && !(await hasOldVersion(context, signal)))
        noted = lastRun(context.journal.entries(), id)?.result;
      return noted === undefined ? { state: "absent" } : { state: "done", result: noted };
    },
    run: async () => {
      const live = await context.databases.live(database);
      noted = json.parse(await engineOf(live).activity(live));
      return noted;
    },
  };
}
