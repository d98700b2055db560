import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { parseFilters } from "../store/filter.ts";
import { collectGarbage } from "../store/gc.ts";
import { ImageStore } from "../store/image-store.ts";
import { type PruneDecision, pruneImages } from "../store/prune.ts";
import type { KeepRules } from "../store/retention.ts";
import { parseDuration } from "../units.ts";
import { garbageText } from "./garbage-text.ts";
import { type CleanFlags, cleaning } from "./images-clean.ts";
import { listedImages } from "./listed-images.ts";
import { printJson, table } from "./output.ts";

interface PruneFlags extends CleanFlags {
  filter: string[];
  keepLast?: number;
  keepHourly?: number;
  keepDaily?: number;
  keepWeekly?: number;
  keepMonthly?: number;
  keepYearly?: number;
  keepWithin?: number;
}

const PERIODS = ["hourly", "daily", "weekly", "monthly", "yearly"];

/** `doppel images prune`: retention. */
export function pruneCommand(): Command {
  const command = cleaning(new Command("prune").argument("[name...]")).description(
    "of each name, keep the images that a rule keeps, and take the names of the others away; --dry-run first",
  );
  command.option("--keep-last <n>", "the newest n", parseCount);
  for (const period of PERIODS)
    command.option(
      `--keep-${period} <n>`,
      `the newest of each of the last n that has any, ${period}`,
      parseCount,
    );
  return command
    .option("--keep-within <duration>", "all that are younger, like 14d", parseDuration)
    .option(
      "--filter <text>",
      "apply the rules only to what meets it, as 'images ls' does; can be given again",
      (text: string, all: string[]) => [...all, text],
      [],
    )
    .action(prune);
}

async function prune(names: string[], flags: PruneFlags): Promise<void> {
  const rules = rulesOf(flags);
  const meets = parseFilters(flags.filter);
  const now = new Date();
  const dryRun = flags.dryRun === true;
  await using store = await ImageStore.open();
  const meant = new Set<string>();
  for (const image of await listedImages(store))
    if ((names.length === 0 || names.includes(image.name)) && meets(image, now))
      meant.add(`${image.name}:${image.tag}@${image.digest}`);
  const decisions = pruneImages(store, {
    ...{ rules, now, dryRun },
    isMeant: ({ name, tag, digest }) => meant.has(`${name}:${tag}@${digest}`),
  });
  const going = decisions.filter(({ keep }) => !keep);
  const without = going.flatMap(({ name, tags }) => tags.map((tag) => ({ name, tag })));
  const report = await collectGarbage(store, { dryRun, graceMs: flags.grace, without });
  if (flags.json) return printJson({ decisions, ...report });
  process.stdout.write(`${decisionTable(decisions, dryRun)}${garbageText(report)}`);
}

function rulesOf(flags: PruneFlags): KeepRules {
  const rules: Record<string, number | undefined> = {
    last: flags.keepLast,
    hourly: flags.keepHourly,
    daily: flags.keepDaily,
    weekly: flags.keepWeekly,
    monthly: flags.keepMonthly,
    yearly: flags.keepYearly,
    withinMs: flags.keepWithin,
  };
  const given = Object.entries(rules).filter(([, value]) => value !== undefined);
  if (given.length > 0) return Object.fromEntries(given);
  throw new DoppelError("usage", "no rule says what is kept", {
    hint: "add one or several, like --keep-daily 7 --keep-weekly 4",
    exitCode: EXIT.usage,
  });
}

function parseCount(text: string): number {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (count > 0) return count;
  throw new DoppelError("usage", `'${text}' is not a number of images`, {
    hint: "write it like 7; a rule that is left out keeps nothing",
    exitCode: EXIT.usage,
  });
}

function decisionTable(decisions: readonly PruneDecision[], dryRun: boolean): string {
  const gone = dryRun ? "would go" : "gone";
  const rows = decisions.map(({ name, tags, created, keep, why }) => [
    name,
    tags.join(", "),
    created.slice(0, 16).replace("T", " "),
    keep ? "kept" : gone,
    why.join(", "),
  ]);
  return table([["NAME", "TAGS", "CREATED (UTC)", "", "WHY"], ...rows]);
}
