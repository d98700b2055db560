import { Command } from "commander";
import { foldJournal } from "../farm/journal/state.ts";
import { planFarm } from "../farm/plan.ts";
import { openFarm } from "./farm-open.ts";
import { planText } from "./farm-plan-text.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";

/** `doppel farm plan FARM.yaml`. */
export function farmPlanCommand(): Command {
  return new Command("plan")
    .description(
      "what each command would do now, what changed since, each step's undo, the gates; nothing is touched",
    )
    .argument("<file>", "the farm file")
    .option("--json", "print the result as JSON")
    .action(async (file: string, flags: { json?: boolean }) => {
      await using opened = await openFarm(file);
      const state = foldJournal(opened.journal.entries());
      const plan = await planFarm(opened.context, state, interruptSignal());
      if (flags.json) printJson(plan);
      else process.stdout.write(planText(plan));
    });
}
