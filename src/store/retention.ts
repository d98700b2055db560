/** How many images of one name are kept, by when they were made. */
export interface KeepRules {
  last?: number;
  hourly?: number;
  daily?: number;
  weekly?: number;
  monthly?: number;
  yearly?: number;
  /** All that are younger, in milliseconds. */
  withinMs?: number;
}

export interface Candidate {
  digest: string;
  created: Date;
}

/** Periods in local time, as people count them; two moments with the same text are in the same one. */
const PERIODS: Record<"hourly" | "daily" | "weekly" | "monthly" | "yearly", (moment: Date) => string> = {
  hourly: (moment) => `${dayOf(moment)} ${moment.getHours()}`,
  daily: dayOf,
  weekly: (moment) => dayOf(mondayOf(moment)),
  monthly: (moment) => `${moment.getFullYear()}-${moment.getMonth()}`,
  yearly: (moment) => String(moment.getFullYear()),
};

/**
 * Which of the images of one name are kept, and why (`daily 2`: the newest of its day, and the second day that counts). Each
 * rule is applied on its own, as restic does: from the newest on, the newest of each period that has any, until there are as
 * many as the rule says; the oldest of all counts as well while there are fewer. Images of one moment count by their digest.
 */
export function keptBy(candidates: readonly Candidate[], rules: KeepRules, now: Date): Map<string, string[]> {
  const newestFirst = candidates.toSorted(
    (a, b) => b.created.getTime() - a.created.getTime() || a.digest.localeCompare(b.digest),
  );
  const kept = new Map<string, string[]>(newestFirst.map(({ digest }) => [digest, []]));
  const keep = ({ digest }: Candidate, reason: string) => kept.get(digest)?.push(reason);
  for (const [index, candidate] of newestFirst.slice(0, rules.last ?? 0).entries())
    keep(candidate, `last ${index + 1}`);
  for (const candidate of newestFirst)
    if (rules.withinMs !== undefined && now.getTime() - candidate.created.getTime() <= rules.withinMs)
      keep(candidate, "within");
  for (const [rule, periodOf] of Object.entries(PERIODS)) {
    const most = rules[rule as keyof typeof PERIODS] ?? 0;
    for (const [index, candidate] of newestOfPeriods(newestFirst, periodOf).slice(0, most).entries())
      keep(candidate, `${rule} ${index + 1}`);
  }
  return kept;
}

function newestOfPeriods(newestFirst: readonly Candidate[], periodOf: (moment: Date) => string): Candidate[] {
  const isNewest = ({ created }: Candidate, index: number) => {
    const newer = newestFirst[index - 1];
    return newer === undefined || periodOf(newer.created) !== periodOf(created);
  };
  const isOldest = (index: number) => index === newestFirst.length - 1;
  return newestFirst.filter((candidate, index) => isNewest(candidate, index) || isOldest(index));
}

function dayOf(moment: Date): string {
  return `${moment.getFullYear()}-${moment.getMonth()}-${moment.getDate()}`;
}

/** The Monday of its week, with which ISO 8601 begins one. */
function mondayOf(moment: Date): Date {
  return new Date(moment.getFullYear(), moment.getMonth(), moment.getDate() - ((moment.getDay() + 6) % 7));
}
