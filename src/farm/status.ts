import type { Journal, LeaseHolder } from "./journal/journal.ts";
import { whyOver } from "./journal/lease.ts";
import {
  type FarmState,
  foldJournal,
  isFresh,
  type RunState,
  type StepState,
  unfinishedRun,
} from "./journal/state.ts";
import { type Left, leftOf } from "./steps/databases/left.ts";

export interface FarmStatus {
  farm: string;
  /** Who acts on it now. */
  holder: Pick<LeaseHolder, "owner" | "acquired" | "fencing"> | null;
  lastRun: RunState | null;
  /** The run that `resume` would go on with. */
  unfinished: RunState | null;
  steps: StepState[];
  checks: { passed: number; failed: number; fresh: number; total: number };
  /** What was made of databases and stays until somebody removes it. */
  left: Left[];
  journal: { entries: number; head: string };
}

/** The last known state of a farm from its journal alone: quick, and no machine is asked. */
export function farmStatus(
  journal: Journal,
  databases: readonly string[],
  now: Date,
  countsForMs: number,
): FarmStatus {
  const entries = journal.entries();
  const state = foldJournal(entries);
  const recorded = journal.holder();
  const holder = recorded && whyOver(recorded, now.getTime()) === undefined ? recorded : undefined;
  const chain = journal.verify();
  return {
    farm: journal.farm,
    holder: holder ? { owner: holder.owner, acquired: holder.acquired, fencing: holder.fencing } : null,
    lastRun: state.runs.at(-1) ?? null,
    unfinished: unfinishedRun(state) ?? null,
    steps: state.steps,
    checks: countChecks(state, now, countsForMs),
    left: leftOf(entries, databases),
    journal: { entries: chain.entries, head: chain.head },
  };
}

function countChecks({ evidence }: FarmState, now: Date, countsForMs: number): FarmStatus["checks"] {
  const passed = evidence.filter((cell) => cell.passed).length;
  const fresh = evidence.filter((cell) => isFresh(cell, now.getTime(), countsForMs)).length;
  return { passed, failed: evidence.length - passed, fresh, total: evidence.length };
}
