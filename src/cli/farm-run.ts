import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { makeFlow } from "../farm/flows/flows.ts";
import { runFlow } from "../farm/flows/run-flow.ts";
import type { Json } from "../farm/journal/entry.ts";
import { FarmLease } from "../farm/journal/lease.ts";
import { foldJournal, unfinishedRun } from "../farm/journal/state.ts";
import { planFlow } from "../farm/plan.ts";
import { parsePercent } from "../units.ts";
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
  return new Command("switch")
    .description(
      "give the site's users the new version in one step, watch it, and lead them back when it fails",
    )
    .argument("<file>", "the farm file")
    .option(
      "--canary <share>",
      "so many of the users first, such as 5%, instead of what the file says",
      parseShare,
    )
    .option("--dry-run", "say what would be done, and touch nothing")
    .option("--json", "print the result as JSON")
    .action(async (file: string, flags: RunFlags & { canary?: number }) => {
      await using opened = await openFarm(file);
      await runFarmFlow(opened, "switch", flags.canary === undefined ? {} : { canary: flags.canary }, flags);
    });
}

/** A part of the users, from 1 % to 99 %, as a number from 0 to 1. */
function parseShare(text: string): number {
  const percent = parsePercent(text);
  if (percent < 100) return percent / 100;
  throw new DoppelError("usage", "--canary 100% is a switch of all users", {
    hint: "say 1% to 99%, or leave it out",
    exitCode: EXIT.usage,
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
  await runFarmFlow(opened, unfinished.flow, unfinished.arguments, flags, { resumes: unfinished.run });
}

interface FlowOptions {
  /** The run that this one goes on with. */
  resumes?: number;
  /** What the result has besides the steps; asked once they are done. */
  more?: () => Promise<Record<string, unknown>>;
}

/** Runs a command of the farm under a lease, or says what it would do. */
export async function runFarmFlow(
  { context, journal }: OpenFarm,
  name: string,
  args: Json,
  flags: RunFlags,
  { resumes, more }: FlowOptions = {},
): Promise<void> {
  const signal = interruptSignal();
  const flow = await makeFlow(context, name, args);
  if (flags.dryRun) {
    const planned = await planFlow(flow, context, foldJournal(journal.entries()), signal);
    if (flags.json) printJson({ ...planned, ...(await more?.()) });
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
  const farm = context.farm.spec.name;
  const facts = await more?.();
  if (flags.json) printJson({ farm, flow: flow.name, run: runNumber, steps, ...facts });
  else process.stdout.write(`${flow.name} of ${farm} is done: ${steps.length} steps\n`);
}

function logStep(title: string, what: string, message?: string): void {
  process.stderr.write(`${what}: ${title}${message === undefined ? "" : `: ${message}`}\n`);
}
