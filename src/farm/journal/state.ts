import type { Evidence, JournalEntry, Json } from "./entry.ts";

export interface RunState {
  run: number;
  flow: string;
  arguments: Json;
  file: { path: string; digest: string };
  started: string;
  owner: string;
  /** Missing while it goes on, and for ever when its process was killed. */
  ended?: string;
  outcome?: "done" | "failed" | "refused" | "interrupted";
  error?: { code: string; message: string };
}

export interface StepState {
  step: string;
  /** What was done last: of an undone step, its undoing. */
  title: string;
  /** `begun`: started, and no end of it is known. */
  state: "done" | "undone" | "begun" | "failed";
  time: string;
  inputs: Json;
  result: Json;
  error?: { code: string; message: string };
}

export interface FarmState {
  runs: RunState[];
  steps: StepState[];
  /** The newest of each check. */
  evidence: Evidence[];
}

/** What the journal says of a farm, folded into its last known state. Reality may differ: probes tell. */
export function foldJournal(entries: readonly JournalEntry[]): FarmState {
  const runs = new Map<number, RunState>();
  const steps = new Map<string, StepState>();
  const evidence = new Map<string, Evidence>();
  for (const entry of entries) {
    foldRun(runs, entry);
    foldStep(steps, entry);
    if (entry.event.kind === "evidence") for (const cell of entry.event.cells) evidence.set(cell.id, cell);
  }
  return { runs: [...runs.values()], steps: [...steps.values()], evidence: [...evidence.values()] };
}

/** A check changes nothing: there is nothing to go on with. */
export const CHECK = "check";

/** The flow that leaves the old version for good. */
export const CLEAN = "clean";

export function isChange({ flow }: RunState): boolean {
  return flow !== CHECK;
}

/** The newest run that changes something, when it did not come to a good end. */
export function unfinishedRun({ runs }: FarmState): RunState | undefined {
  const last = runs.findLast(isChange);
  return last && last.outcome !== "done" ? last : undefined;
}

/** True when a check passed and its result still counts. One from the future does not: a clock was wrong. */
export function isFresh(cell: Evidence, nowMs: number, countsForMs: number): boolean {
  const ageMs = nowMs - Date.parse(cell.time);
  return cell.passed && ageMs >= 0 && ageMs <= countsForMs;
}

function foldRun(runs: Map<number, RunState>, { event, sequence, time, owner }: JournalEntry): void {
  if (event.kind === "run-started") {
    const { flow, file } = event;
    runs.set(sequence, { run: sequence, flow, arguments: event.arguments, file, started: time, owner });
  }
  if (event.kind !== "run-ended") return;
  const run = runs.get(event.run);
  if (!run) return;
  run.ended = time;
  run.outcome = event.outcome;
  if (event.error) run.error = event.error;
}

function foldStep(steps: Map<string, StepState>, { event, time }: JournalEntry): void {
  if (event.kind !== "step-started" && event.kind !== "step-done" && event.kind !== "step-failed") return;
  const { step, title } = event;
  const before = steps.get(step);
  const about = { step, title, time, inputs: before?.inputs ?? null, result: before?.result ?? null };
  if (event.kind === "step-started") steps.set(step, { ...about, state: "begun", inputs: event.inputs });
  else if (event.kind === "step-failed") steps.set(step, { ...about, state: "failed", error: event.error });
  else {
    const state = event.direction === "do" ? "done" : "undone";
    steps.set(step, { ...about, state, inputs: event.inputs, result: event.result });
  }
}
