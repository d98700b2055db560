import { Command, Option } from "commander";
import { engineOfFile } from "../farm/databases/farm-databases.ts";
import { makeFlow } from "../farm/flows/flows.ts";
import { foldJournal } from "../farm/journal/state.ts";
import { planFlow } from "../farm/plan.ts";
import { readExpansion } from "../farm/steps/databases/expansion.ts";
import type { PointTarget } from "../farm/steps/databases/point.ts";
import { parseDuration } from "../units.ts";
import { cleanDatabasesCommand } from "./farm-databases-clean.ts";
import { verdictForJson } from "./farm-migration.ts";
import { type OpenFarm, openFarm } from "./farm-open.ts";
import { flowText } from "./farm-plan-text.ts";
import { restoreCommand } from "./farm-restore.ts";
import { type RunFlags, runFarmFlow } from "./farm-run.ts";
import { verdictTable } from "./farm-verdict-text.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";

/** `doppel farm databases`: copies, additions, and which database a shadow uses. */
export function farmDatabasesCommand(): Command {
  return new Command("databases")
    .description("copy the farm's databases, expand them, point shadows to them (docs/farm.md)")
    .addCommand(copyCommand())
    .addCommand(expandCommand())
    .addCommand(pointCommand())
    .addCommand(restoreCommand())
    .addCommand(cleanDatabasesCommand());
}

function copyCommand(): Command {
  return changing("copy")
    .description("make a safety copy, whose restore is rehearsed, and a test copy of each database")
    .argument("[database...]", "only these; all of them by default")
    .option("--no-rehearse", "do not try to restore the safety copy: nothing is expanded on such a one")
    .option("--max-age <duration>", "make a new safety copy when the last one is older", parseDuration)
    .option("--undo", "drop the test copies instead; safety copies stay")
    .action(
      async (file: string, databases: string[], flags: RunFlags & { rehearse: boolean; maxAge?: number }) => {
        await using opened = await openFarm(file);
        const { rehearse, maxAge } = flags;
        await runFarmFlow(
          opened,
          "databases copy",
          {
            rehearse,
            ...(databases.length > 0 ? { databases } : {}),
            ...(maxAge === undefined ? {} : { maxAgeMs: maxAge }),
            ...(flags.undo ? { undo: true } : {}),
          },
          flags,
        );
      },
    );
}

function expandCommand(): Command {
  return changing("expand")
    .description("apply a database's migrations, additions only: on the test copy, then on the live database")
    .argument("<database>", "its name in the farm file")
    .action(async (file: string, database: string, flags: RunFlags) => {
      await using opened = await openFarm(file);
      if (flags.dryRun) return await showExpansion(opened, database, flags);
      await runFarmFlow(opened, "databases expand", { databases: [database] }, flags);
    });
}

/** What each statement is judged to be, and what the command would do. */
async function showExpansion({ context, journal }: OpenFarm, name: string, flags: RunFlags): Promise<void> {
  const database = context.databases.find(name);
  const { files } = await readExpansion(context, database);
  const flow = await makeFlow(context, "databases expand", { databases: [name] });
  const planned = await planFlow(flow, context, foldJournal(journal.entries()), interruptSignal());
  const judged = files.flatMap(({ file, verdict }) => (verdict ? [{ file, verdict }] : []));
  if (flags.json) {
    const migrations = judged.map(({ file, verdict }) => ({ file, ...verdictForJson(verdict) }));
    return printJson({ ...planned, migrations });
  }
  const language = database.engine === "commands" ? "its own" : engineOfFile(database.engine);
  process.stdout.write(`${name}: ${files.length} files, judged as ${language}\n`);
  process.stdout.write(`${verdictTable(judged)}${flowText(planned)}`);
}

function pointCommand(): Command {
  return changing("point")
    .description(
      "let the shadows' application use the live database or the test copy; checked after each, undone when that fails",
    )
    .argument("<database>", "its name in the farm file")
    .addOption(new Option("--to <database>", "which one").choices(["live", "copy"]).makeOptionMandatory())
    .option("--shadow <box>", "only the shadow of this box")
    .action(
      async (file: string, database: string, flags: RunFlags & { to: PointTarget; shadow?: string }) => {
        await using opened = await openFarm(file);
        const { to, shadow } = flags;
        const args = { databases: [database], to, ...(shadow === undefined ? {} : { shadow }) };
        await runFarmFlow(opened, "databases point", args, flags);
      },
    );
}

function changing(name: string): Command {
  return new Command(name)
    .argument("<file>", "the farm file")
    .option("--dry-run", "say what would be done, and touch nothing")
    .option("--json", "print the result as JSON");
}
