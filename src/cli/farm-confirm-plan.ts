import { makeFlow } from "../farm/flows/flows.ts";
import type { Json } from "../farm/journal/entry.ts";
import { foldJournal } from "../farm/journal/state.ts";
import { planFlow } from "../farm/plan.ts";
import { confirm } from "./confirm.ts";
import type { OpenFarm } from "./farm-open.ts";
import { flowText } from "./farm-plan-text.ts";
import { interruptSignal } from "./interrupt.ts";

/** Shows what a command of the farm would do, and has the farm's name typed before that is done; `what` as for `confirm`. */
export async function confirmPlan(
  { context, journal }: OpenFarm,
  command: string,
  args: Json,
  what: string,
): Promise<void> {
  const signal = interruptSignal();
  const flow = await makeFlow(context, command, args);
  process.stderr.write(flowText(await planFlow(flow, context, foldJournal(journal.entries()), signal)));
  await confirm(journal.farm, what, signal);
}
