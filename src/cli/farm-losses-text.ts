import type { Writes } from "../farm/databases/activity.ts";
import type { Losses } from "../farm/steps/databases/losses.ts";

const GROUPED = new Intl.NumberFormat("en");

/** What stays and what would be lost, a line for each database. */
export function lossesText(losses: readonly Losses[]): string {
  return losses.flatMap(linesOf).join("");
}

function linesOf({ database, sinceSwitch, sinceCopy, copy, problem }: Losses): string[] {
  if (problem !== null) return [`${database}: what was written is not known: ${problem}\n`];
  const stays = sinceSwitch
    ? [
        `${database}: safe because additive: ${rowsText(sinceSwitch)} written since the switch remain without a restore\n`,
      ]
    : [];
  if (!copy || !sinceCopy) return [...stays, `${database}: there is no safety copy to restore\n`];
  const lost = `${database}: a restore loses ${minutesText(sinceCopy.minutes)}: ${rowsText(sinceCopy)} written since ${sinceCopy.since}\n`;
  return [...stays, lost];
}

/** `1,204 rows`; where the server does not count every write, `at least`. */
export function rowsText({ rows, complete }: Pick<Writes, "rows" | "complete">): string {
  return `${complete ? "" : "at least "}${GROUPED.format(rows)} ${rows === 1 ? "row" : "rows"}`;
}

/** `38 minutes`, `1 minute`, `2 days and 3 hours`. */
export function minutesText(minutes: number): string {
  const whole = Math.ceil(minutes);
  if (whole < 120) return counted(whole, "minute");
  const hours = Math.round(whole / 60);
  if (hours < 24) return counted(hours, "hour");
  return `${counted(Math.floor(hours / 24), "day")} and ${counted(hours % 24, "hour")}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
