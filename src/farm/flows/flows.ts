import { DoppelError } from "../../errors.ts";
import type { FarmContext } from "../context.ts";
import { reversed } from "../engine/step.ts";
import type { Json } from "../journal/entry.ts";
import { cleanFlow } from "./clean.ts";
import type { FarmFlow } from "./flow.ts";
import { provisionFlow } from "./provision.ts";
import { rollbackFlow, switchFlow } from "./switch.ts";

type MakeFlow = (context: FarmContext, args: Json) => Promise<FarmFlow>;

/** Every command that changes a farm, in the order of an upgrade; `plan` shows them, `resume` goes on with them. */
const FLOWS: Record<string, MakeFlow> = {
  provision: provisionFlow,
  switch: switchFlow,
  rollback: rollbackFlow,
  clean: cleanFlow,
};

export const FLOW_NAMES: readonly string[] = Object.keys(FLOWS);

/** The flow of that name, or with `{ undo: true }` its undoing; `farm-flow-unknown` for one that a later version has recorded. */
export async function makeFlow(context: FarmContext, name: string, args: Json): Promise<FarmFlow> {
  const make = FLOWS[name];
  if (make) return isUndo(args) ? undone(await make(context, args)) : await make(context, args);
  throw new DoppelError("farm-flow-unknown", `this Doppel knows no command '${name}' of a farm`, {
    hint: "use the Doppel that began it",
  });
}

function isUndo(args: Json): boolean {
  return typeof args === "object" && args !== null && !Array.isArray(args) && args.undo === true;
}

/** The way back needs no gate: nothing may keep one from it. */
function undone(flow: FarmFlow): FarmFlow {
  return { ...flow, direction: "undo", arguments: { undo: true }, stages: reversed(flow.stages), gates: [] };
}
