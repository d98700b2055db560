import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { makeFlow } from "../farm/flows/flows.ts";
import { CLEAN, foldJournal } from "../farm/journal/state.ts";
import { planFlow } from "../farm/plan.ts";
import { terminalPrompt } from "../ssh/terminal-prompt.ts";
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
      if (!flags.yes && !flags.dryRun) await confirm(opened);
      await runFarmFlow(opened, CLEAN, {}, flags);
    });
}

/** Shows what would be removed and asks; `not-confirmed` (exit 3) without a terminal, and for any other word than the farm's name. */
async function confirm({ context, journal }: OpenFarm): Promise<void> {
  const signal = interruptSignal();
  const flow = await makeFlow(context, CLEAN, {});
  process.stderr.write(flowText(await planFlow(flow, context, foldJournal(journal.entries()), signal)));
  const { name } = context.farm.spec;
  const text = `There is no rollback afterwards. Type the farm's name, ${name}, to go on: `;
  const answer = await terminalPrompt({ text, hidden: false }, signal);
  if (answer?.trim() === name) return;
  throw new DoppelError(
    "not-confirmed",
    `the old version of ${name} stays: nobody has confirmed that it may go`,
    {
      hint: answer === undefined ? "without a terminal say --yes" : "type the farm's name, or say --yes",
      exitCode: EXIT.refused,
    },
  );
}
