import { Command } from "commander";
import { CLEAN } from "../farm/journal/state.ts";
import { confirmPlan } from "./farm-confirm-plan.ts";
import { openFarm } from "./farm-open.ts";
import { type RunFlags, runFarmFlow } from "./farm-run.ts";

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
      if (!flags.yes && !flags.dryRun) {
        const what = `remove the old version of ${opened.journal.farm}, with no rollback afterwards`;
        await confirmPlan(opened, CLEAN, {}, what);
      }
      await runFarmFlow(opened, CLEAN, {}, flags);
    });
}
