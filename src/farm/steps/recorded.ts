import type { Reality, Step } from "../engine/step.ts";
import type { JournalEntry, Json } from "../journal/entry.ts";
import type { Journal } from "../journal/journal.ts";

/** When a step last ran to its end. */
interface Run {
  sequence: number;
  inputs: Json;
  result: Json;
}

/**
 * The last time that a step ran to its end, by the journal, when it was not begun again since. What a probe found to be so
 * does not count.
 */
export function lastRun(entries: readonly JournalEntry[], step: string): Run | undefined {
  const found = entries.findLast(
    ({ event }) =>
      (event.kind === "step-started" && event.step === step) ||
      (event.kind === "step-done" && event.by === "run" && event.step === step),
  );
  if (found?.event.kind !== "step-done" || found.event.direction === "undo") return undefined;
  return { sequence: found.sequence, inputs: found.event.inputs, result: found.event.result };
}

interface Looking extends Pick<Step, "id" | "title" | "inputs"> {
  undoes?: string;
  /** The steps after which it has to be looked again. */
  after: readonly string[];
  look(signal: AbortSignal): Promise<Json>;
}

/**
 * A step whose effect nothing but the journal shows: it is done once it ran with these inputs, and after the last run of
 * each step of `after`.
 */
export function lookingStep(journal: Journal, { after, look, ...about }: Looking): Step {
  let seen: Json | undefined;
  return {
    undoes: "nothing: it only looks",
    ...about,
    probe: async (): Promise<Reality> => {
      if (seen !== undefined) return { state: "done", result: seen };
      const entries = journal.entries();
      const last = lastRun(entries, about.id);
      if (!last || JSON.stringify(last.inputs) !== JSON.stringify(about.inputs)) return { state: "absent" };
      const isCurrent = after.every((id) => (lastRun(entries, id)?.sequence ?? 0) < last.sequence);
      return isCurrent ? { state: "done", result: last.result } : { state: "absent" };
    },
    run: async (signal) => {
      seen = await look(signal);
      return seen;
    },
  };
}
