import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import type { Step } from "../farm/engine/step.ts";
import { makeFlow } from "../farm/flows/flows.ts";
import { runFlow } from "../farm/flows/run-flow.ts";
import type { Json } from "../farm/journal/entry.ts";
import { FarmLease } from "../farm/journal/lease.ts";
import { foldJournal, type StepState, unfinishedRun } from "../farm/journal/state.ts";
import { planFlow } from "../farm/plan.ts";
import { type OpenFarm, openFarm } from "./farm-open.ts";
import { flowText } from "./farm-plan-text.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";

export interface RunFlags {
  dryRun?: boolean;
  undo?: boolean;
  json?: boolean;
}

/** `doppel farm provision FARM.yaml`. */
export function farmProvisionCommand(): Command {
  return new Command("provision")
    .description("start a shadow beside every box, bring it to the new version, wait until it is ready")
    .argument("<file>", "the farm file")
    .option("--undo", "discard the shadows instead")
    .option("--dry-run", "say what would be done, and touch nothing")
    .option("--json", "print the result as JSON")
    .action(async (file: string, flags: RunFlags) => {
      await using opened = await openFarm(file);
      await runFarmFlow(opened, "provision", flags.undo ? { undo: true } : {}, flags);
    });
}

/** `doppel farm switch FARM.yaml`. */
export function farmSwitchCommand(): Command {
  return plainCommand(
    "switch",
    "give the site's users the new version in one step, watch it, and lead them back when it fails",
  );
}

/** `doppel farm rollback FARM.yaml`. */
export function farmRollbackCommand(): Command {
  return plainCommand("rollback", "lead the site's users back to the old version");
}

function plainCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .argument("<file>", "the farm file")
    .option("--dry-run", "say what would be done, and touch nothing")
    .option("--json", "print the result as JSON")
    .action(async (file: string, flags: RunFlags) => {
      await using opened = await openFarm(file);
      await runFarmFlow(opened, name, {}, flags);
    });
}

/** `doppel farm resume FARM.yaml`: goes on with what was begun. */
export function farmResumeCommand(): Command {
  return new Command("resume")
    .description(
      "go on with a command that was killed, failed or interrupted: reality is looked at, nothing is replayed",
    )
    .argument("<file>", "the farm file")
    .option("--dry-run", "say what would be done, and touch nothing")
    .option("--json", "print the result as JSON")
    .action(resume);
}

async function resume(file: string, flags: RunFlags): Promise<void> {
  await using opened = await openFarm(file);
  const { farm } = opened.context;
  const unfinished = unfinishedRun(foldJournal(opened.journal.entries()));
  if (!unfinished) {
    if (flags.json) return printJson({ farm: farm.spec.name, run: null, steps: [] });
    process.stdout.write(`nothing to go on with: the last command on ${farm.spec.name} came to its end\n`);
    return;
  }
  if (unfinished.file.digest !== farm.digest) {
    throw new DoppelError("farm-file-changed", `${file} has changed since '${unfinished.flow}' began`, {
      hint: `see 'doppel farm plan ${file}'; then start the command that you want anew`,
      exitCode: EXIT.refused,
    });
  }
  await runFarmFlow(opened, unfinished.flow, unfinished.arguments, flags, unfinished.run);
}

/** Runs a flow, or with `dryRun` says what it would do, and prints the result. */
export async function runFarmFlow(
  { context, journal }: OpenFarm,
  name: string,
  args: Json,
  flags: RunFlags,
  resumes?: number,
): Promise<void> {
  const signal = interruptSignal();
  const flow = await makeFlow(context, name, args);
  if (flags.dryRun) {
    const planned = await planFlow(flow, context, foldJournal(journal.entries()), signal);
    if (flags.json) printJson(planned);
    else process.stdout.write(flowText(planned));
    return;
  }
  using lease = FarmLease.take(journal);
  const runNumber = await runFlow(context.farm, flow, lease, {
    parallel: context.farm.spec.parallel,
    signal,
    onStep: logStep,
    ...(resumes === undefined ? {} : { resumes }),
  });
  const steps = foldJournal(journal.entries().filter((entry) => entry.sequence >= runNumber)).steps;
  report(flow.name, context.farm.spec.name, runNumber, steps, flags);
}

function report(flow: string, farm: string, run: number, steps: readonly StepState[], flags: RunFlags): void {
  if (flags.json) printJson({ farm, flow, run, steps });
  else process.stdout.write(`${flow} of ${farm} is done: ${steps.length} steps\n`);
}

function logStep(step: Step, what: string, message?: string): void {
  process.stderr.write(`${what}: ${step.title}${message === undefined ? "" : `: ${message}`}\n`);
}
