import type { FarmContext } from "../context.ts";
import type { FarmDatabase } from "../file/databases.ts";
import { type Point, pointedTo } from "../steps/databases/point.ts";
import { knownRestores } from "../steps/databases/restores.ts";
import type { Gate } from "./gate.ts";
import { verdict } from "./verdict.ts";

/** No shadow says of itself that it uses the test copy. */
export function copyUnusedGate({ machines }: FarmContext, { name }: FarmDatabase, point: Point): Gate {
  return {
    id: `copy-unused/${name}`,
    title: `no shadow uses the test copy of ${name}`,
    look: async (signal) => {
      const answers = await Promise.all(
        machines.all().map(async (shadow) => {
          const says = await pointedTo(shadow, point, signal);
          return says === "copy" ? [`${shadow.name} does: 'databases point ${name} --to live'`] : [];
        }),
      );
      return verdict("none does", answers.flat());
    },
  };
}

/** The last restore of a database, or its undoing, came to its end: before that it is not known which content is wanted. */
export function restoredGate({ journal }: FarmContext, { name }: FarmDatabase): Gate {
  return {
    id: `restored/${name}`,
    title: `no restore of ${name} is unfinished`,
    look: async () => {
      const last = knownRestores(journal.entries(), name).at(-1);
      const go = `run 'doppel farm resume', or 'databases restore ${name} --undo'`;
      return verdict(
        "none is",
        last?.state === "cut off" ? [`that of ${last.begun} was cut off: ${go}`] : [],
      );
    },
  };
}
