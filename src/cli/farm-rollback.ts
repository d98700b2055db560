import { Command } from "commander";
import { useReserve } from "../farm/journal/reserve.ts";
import { lossesOf } from "../farm/steps/databases/losses.ts";
import { safetyCopies } from "../farm/steps/databases/records.ts";
import { Catalog } from "../store/catalog.ts";
import { defaultHome } from "../store/image-store.ts";
import { lossesText } from "./farm-losses-text.ts";
import { type OpenFarm, openFarm } from "./farm-open.ts";
import { askForRestore } from "./farm-restore.ts";
import { type RunFlags, runFarmFlow } from "./farm-run.ts";

interface RollbackFlags extends RunFlags {
  restoreDatabases?: boolean;
  yes?: boolean;
}

/** `doppel farm rollback FARM.yaml`. */
export function farmRollbackCommand(): Command {
  return new Command("rollback")
    .description("lead the site's users back to the old version; the databases keep what was written")
    .argument("<file>", "the farm file")
    .option("--restore-databases", "then restore every database that has a safety copy: says what that loses")
    .option("--yes", "with --restore-databases: do it without asking; needed where there is no terminal")
    .option("--dry-run", "say what would be done, and touch nothing")
    .option("--json", "print the result as JSON")
    .action(rollback);
}

async function rollback(file: string, flags: RollbackFlags): Promise<void> {
  useReserve(Catalog.pathIn(defaultHome()));
  await using opened = await openFarm(file);
  if (flags.restoreDatabases) {
    const { requests, losses } = await askForRestore(opened, restorable(opened), flags);
    await runFarmFlow(opened, "rollback", { restore: requests }, flags, { more: async () => ({ losses }) });
    return;
  }
  // Users first: a database that does not answer keeps nobody waiting.
  const more = async () => {
    const { context } = opened;
    const losses = await Promise.all(context.databases.all().map((database) => lossesOf(context, database)));
    process.stderr.write(lossesText(losses));
    return { losses };
  };
  await runFarmFlow(opened, "rollback", {}, flags, { more });
}

function restorable({ context, journal }: OpenFarm): string[] {
  const entries = journal.entries();
  return context.databases
    .all()
    .map(({ name }) => name)
    .filter((name) => safetyCopies(entries, name).length > 0);
}
