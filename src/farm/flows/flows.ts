import { DoppelError } from "../../errors.ts";
import type { FarmContext } from "../context.ts";
import { reversed } from "../engine/step.ts";
import { type Json, membersOf } from "../journal/entry.ts";
import { cleanFlow } from "./clean.ts";
import { cleanDatabasesFlow } from "./databases/clean.ts";
import { copyFlow } from "./databases/copy.ts";
import { expandFlow } from "./databases/expand.ts";
import { pointFlow } from "./databases/point.ts";
import { restoreFlow } from "./databases/restore.ts";
import type { FarmFlow } from "./flow.ts";
import { provisionFlow } from "./provision.ts";
import { rollbackFlow, switchFlow } from "./switch.ts";

type MakeFlow = (context: FarmContext, args: Json) => Promise<FarmFlow>;

/** Every command that changes a farm, in the order of an upgrade; `resume` goes on with them. */
const FLOWS: Record<string, MakeFlow> = {
  provision: provisionFlow,
  "databases copy": copyFlow,
  "databases expand": expandFlow,
  "databases point": pointFlow,
  switch: switchFlow,
  rollback: rollbackFlow,
  clean: cleanFlow,
  "databases restore": restoreFlow,
  "databases clean": cleanDatabasesFlow,
};

/** Asked for on their own: they belong to no upgrade. */
const SEPARATE = ["databases restore", "databases clean"];

/** What `plan` shows. */
export const PLANNED_FLOWS: readonly string[] = Object.keys(FLOWS).filter((name) => !SEPARATE.includes(name));

/** The flow of that name, or with `{ undo: true }` its undoing; `farm-flow-unknown` for one that a later version has recorded. */
export async function makeFlow(context: FarmContext, name: string, args: Json): Promise<FarmFlow> {
  const make = FLOWS[name];
  if (make) return isUndo(args) ? undone(await make(context, args)) : await make(context, args);
  throw new DoppelError("farm-flow-unknown", `this Doppel knows no command '${name}' of a farm`, {
    hint: "use the Doppel that began it",
  });
}

function isUndo(args: Json): boolean {
  return membersOf(args).undo === true;
}

/** The way back needs no gate: nothing may keep one from it. */
function undone(flow: FarmFlow): FarmFlow {
  return {
    ...flow,
    direction: "undo",
    arguments: { ...membersOf(flow.arguments), undo: true },
    stages: reversed(flow.stages),
    gates: [],
  };
}
