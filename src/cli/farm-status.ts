import { setTimeout as sleep } from "node:timers/promises";
import { Command } from "commander";
import { writeDurableFile } from "../durable-file.ts";
import { EXIT } from "../errors.ts";
import { auditMarkdown } from "../farm/audit.ts";
import type { Journal } from "../farm/journal/journal.ts";
import { type FarmStatus, farmStatus } from "../farm/status.ts";
import { leftText } from "../farm/steps/databases/left.ts";
import { openFarm } from "./farm-open.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson, table } from "./output.ts";

interface StatusFlags {
  watch?: boolean;
  verify?: boolean;
  head?: string;
  audit?: string;
  json?: boolean;
}

const WATCH_EVERY_MS = 1000;

/** `doppel farm status FARM.yaml`: from the journal alone; no machine is asked. */
export function farmStatusCommand(): Command {
  return new Command("status")
    .description("what was done last, by whom, and what the checks found; from the journal alone")
    .argument("<file>", "the farm file")
    .option("--watch", "print it again whenever it changes, until Ctrl-C")
    .option("--verify", "follow the journal's chain of hashes; exit 4 when it was changed")
    .option("--head <hash>", "with --verify: a hash that was kept elsewhere and must be in the chain")
    .option("--audit <file>", "write the journal as Markdown, with times and evidence")
    .option("--json", "print the result as JSON")
    .action(status);
}

async function status(file: string, flags: StatusFlags): Promise<void> {
  await using opened = await openFarm(file);
  const { context, journal } = opened;
  const { evidence } = context.farm.spec.gates;
  if (flags.audit !== undefined) {
    await writeDurableFile(
      flags.audit,
      auditMarkdown(journal.farm, journal.entries(), journal.verify(flags.head)),
    );
    process.stderr.write(`audit: ${flags.audit}\n`);
  }
  if (flags.verify || flags.head !== undefined) return verify(journal, flags);
  const databases = context.databases.all().map(({ name }) => name);
  const look = () => farmStatus(journal, databases, new Date(), evidence);
  if (flags.watch) return await watch(look, flags);
  print(look(), flags);
}

function verify(journal: Journal, flags: StatusFlags): void {
  const report = journal.verify(flags.head);
  if (flags.json) printJson(report);
  else if (report.findings.length === 0)
    process.stdout.write(
      `the journal of ${report.farm} is whole: ${report.entries} entries, head ${report.head}\n`,
    );
  else {
    process.stdout.write(`the journal of ${report.farm} was changed:\n`);
    for (const { sequence, message } of report.findings)
      process.stdout.write(`  entry ${sequence}: ${message}\n`);
  }
  if (report.findings.length > 0) process.exitCode = EXIT.different;
}

async function watch(look: () => FarmStatus, flags: StatusFlags): Promise<void> {
  const signal = interruptSignal();
  let shown = "";
  while (!signal.aborted) {
    const now = look();
    const text = JSON.stringify(now);
    if (text !== shown) print(now, flags);
    shown = text;
    await sleep(WATCH_EVERY_MS, undefined, { signal }).catch(() => {});
  }
}

function print(status: FarmStatus, flags: StatusFlags): void {
  if (flags.json) printJson(status);
  else process.stdout.write(statusText(status));
}

function statusText({ farm, holder, lastRun, unfinished, steps, checks, left, journal }: FarmStatus): string {
  const lines = [`farm ${farm}: ${journal.entries} journal entries`];
  if (holder) lines.push(`${holder.owner} acts on it since ${holder.acquired}`);
  if (lastRun) {
    const how = lastRun.outcome ?? (holder ? "under way" : "was cut off");
    const why = lastRun.error ? `: ${lastRun.error.message}` : "";
    lines.push(`last: ${lastRun.flow}, ${lastRun.started}, ${how}${why}`);
  }
  if (unfinished && !holder) lines.push("'doppel farm resume' goes on with it");
  if (checks.total > 0)
    lines.push(`checks: ${checks.passed} passed, ${checks.failed} failed; ${checks.fresh} count still`);
  for (const one of left)
    lines.push(`${one.database}: there is ${leftText(one)}; 'doppel farm databases clean' removes it`);
  // The title says which way it went.
  const rows = steps.map(({ state, title, time, error }) => [
    state === "undone" ? "done" : state,
    title,
    time,
    error?.message ?? "",
  ]);
  const heading = ["STATE", "STEP", "TIME", ""];
  return `${lines.join("\n")}\n${rows.length > 0 ? table([heading, ...rows]) : ""}`;
}
