import { Command } from "commander";
import { confirmPlan } from "./farm-confirm-plan.ts";
import { openFarm } from "./farm-open.ts";
import { type RunFlags, runFarmFlow } from "./farm-run.ts";

const NAME = "databases clean";

interface CleanFlags extends RunFlags {
  safetyCopies?: boolean;
  yes?: boolean;
}

/** `doppel farm databases clean FARM.yaml [DATABASE…]`. */
export function cleanDatabasesCommand(): Command {
  return new Command("clean")
    .description("drop the test copies, and what restores have left; safety copies stay unless that is said")
    .argument("<file>", "the farm file")
    .argument("[database...]", "only these; all of them by default")
    .option("--safety-copies", "remove the safety copies, too: nothing can be restored then")
    .option("--yes", "do it without asking; needed where there is no terminal")
    .option("--dry-run", "say what would be removed, and touch nothing")
    .option("--json", "print the result as JSON")
    .action(clean);
}

async function clean(file: string, databases: string[], flags: CleanFlags): Promise<void> {
  await using opened = await openFarm(file);
  const args = {
    ...(databases.length > 0 ? { databases } : {}),
    ...(flags.safetyCopies ? { safetyCopies: true } : {}),
  };
  if (!flags.yes && !flags.dryRun)
    await confirmPlan(opened, NAME, args, "what is dropped here cannot be brought back");
  await runFarmFlow(opened, NAME, args, flags);
}
