import type { FarmContext } from "../context.ts";
import type { Reality, Step } from "../engine/step.ts";
import type { Json } from "../journal/entry.ts";
import { SWITCH_STEP } from "./routing.ts";

interface Looking {
  title: string;
  inputs: Json;
  look(signal: AbortSignal): Promise<Json>;
}

/** A step that only looks: it is done once it has looked since the users were last led elsewhere. */
export function afterSwitchStep(context: FarmContext, id: string, { title, inputs, look }: Looking): Step {
  let seen: Json | undefined;
  const probe = async (): Promise<Reality> => {
    const earlier = lookedSinceSwitch(context, id) ? "looked at after the switch" : undefined;
    const result = seen ?? earlier;
    return result === undefined ? { state: "absent" } : { state: "done", result };
  };
  const run = async (signal: AbortSignal) => {
    seen = await look(signal);
    return seen;
  };
  return { id, title, inputs, undoes: "nothing: it only looks", probe, run };
}

function lookedSinceSwitch({ journal }: FarmContext, id: string): boolean {
  const entries = journal.entries();
  const looked = entries.findLast(
    ({ event }) => event.kind === "step-done" && event.by === "run" && event.step === id,
  );
  const moved = entries.findLast(({ event }) => event.kind === "step-started" && event.step === SWITCH_STEP);
  return looked !== undefined && looked.sequence > (moved?.sequence ?? 0);
}
