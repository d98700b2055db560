import { Command } from "commander";
import { writeDurableFile } from "../durable-file.ts";
import { DoppelError, EXIT } from "../errors.ts";
import { readOnlyRequests } from "../farm/check/access-log.ts";
import { checkFarm } from "../farm/check/check-farm.ts";
import { grids, junit } from "../farm/check/report.ts";
import type { Evidence } from "../farm/journal/entry.ts";
import { FarmLease } from "../farm/journal/lease.ts";
import { type OpenFarm, openFarm } from "./farm-open.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson, table } from "./output.ts";

/** `doppel farm check FARM.yaml`. */
export function farmCheckCommand(): Command {
  return new Command("check")
    .description(
      "every shadow to every database and every other shadow, users to every shadow, and the file's own checks; exit 4 when one fails",
    )
    .argument("<file>", "the farm file")
    .option("--compare", "ask the live and the shadow address the same, too, and tell what differs")
    .option("--log <file>", "with --compare: also the read-only requests of this access log")
    .option("--junit <file>", "write the result as JUnit's XML, too")
    .option("--json", "print the result as JSON")
    .action(check);
}

interface CheckFlags {
  compare?: boolean;
  log?: string;
  junit?: string;
  json?: boolean;
}

async function check(file: string, flags: CheckFlags): Promise<void> {
  await using opened = await openFarm(file);
  const { context, journal } = opened;
  const compared = await pathsToCompare(opened, flags);
  using lease = FarmLease.take(journal);
  const cells = await checkFarm(context, lease, interruptSignal(), { compared });
  const failed = cells.filter(({ passed }) => !passed);
  if (flags.junit !== undefined) await writeDurableFile(flags.junit, junit(journal.farm, cells));
  if (flags.json) printJson({ farm: journal.farm, passed: failed.length === 0, cells });
  else process.stdout.write(checkText(cells, failed));
  if (failed.length > 0) process.exitCode = EXIT.different;
}

async function pathsToCompare({ context }: OpenFarm, { compare, log }: CheckFlags): Promise<string[]> {
  if (log !== undefined && !compare)
    throw new DoppelError("usage", "--log goes with --compare", { exitCode: EXIT.usage });
  if (!compare) return [];
  const logged = log === undefined ? [] : await readOnlyRequests(log, interruptSignal());
  return [...new Set([...context.farm.spec.compare.requests, ...logged])];
}

function checkText(cells: readonly Evidence[], failed: readonly Evidence[]): string {
  const parts = grids(cells).map((rows) => table(rows));
  const lines = failed.map(({ kind, from, to, message }) => `FAIL ${kind} ${from} to ${to}: ${message}`);
  const sum = `${cells.length - failed.length} passed, ${failed.length} failed`;
  return `${[...parts, ...(lines.length > 0 ? [`${lines.join("\n")}\n`] : [])].join("\n")}\n${sum}\n`;
}
