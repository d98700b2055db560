import { Command } from "commander";
import { makeFlow } from "../farm/flows/flows.ts";
import { CLEAN, foldJournal } from "../farm/journal/state.ts";
import { planFlow } from "../farm/plan.ts";
import { confirm } from "./confirm.ts";
import { type OpenFarm, openFarm } from "./farm-open.ts";
import { flowText } from "./farm-plan-text.ts";
import { type RunFlags, runFarmFlow } from "./farm-run.ts";
import { interruptSignal } from "./interrupt.ts";

interface CleanFlags extends RunFlags {
  yes?: boolean;
}

/** `doppel farm clean FARM.yaml`. */
export function farmCleanCommand(): Command {
  return new Command(CLEAN)
    .description(
      "leave the old version for good: nothing leads to it, its machines are shut down and taken out of libvirt; no rollback afterwards",
    )
    .argument("<file>", "the farm file")
    .option("--yes", "do not ask; needed without a terminal")
    .option("--dry-run", "say what would be done, and touch nothing")
    .option("--json", "print the result as JSON")
    .action(async (file: string, flags: CleanFlags) => {
      await using opened = await openFarm(file);
      if (!flags.yes && !flags.dryRun) await confirmPlan(opened);
      await runFarmFlow(opened, CLEAN, {}, flags);
    });
}

/** Shows what would be removed, and asks. */
async function confirmPlan({ context, journal }: OpenFarm): Promise<void> {
  const signal = interruptSignal();
  const flow = await makeFlow(context, CLEAN, {});
  process.stderr.write(flowText(await planFlow(flow, context, foldJournal(journal.entries()), signal)));
  const { name } = context.farm.spec;
  await confirm(name, `remove the old version of ${name}, with no rollback afterwards`, signal);
}
