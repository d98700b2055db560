import { DoppelError, messageOf } from "../../errors.ts";
import { unlessFull } from "../../store/full-disk.ts";
import type { JournalEvent, Json } from "../journal/entry.ts";
import type { FarmLease } from "../journal/lease.ts";
import { mapBounded } from "./bounded.ts";
import { type Direction, type Reality, type Stage, type Step, titleOf } from "./step.ts";

export interface ConvergeOptions {
  lease: FarmLease;
  /** The sequence number of the run's first entry. */
  run: number;
  direction: Direction;
  /** Lanes at once. */
  parallel: number;
  signal: AbortSignal;
  /** `title` says what is done, in the direction that it goes. */
  onStep?: (title: string, what: "started" | "done" | "as it was" | "failed", message?: string) => void;
}

/**
 * Brings reality to where the stages say, or with `undo` back. Every step is probed first: what is so already is recorded
 * and left alone. After a failure no further step begins; those under way come to their end. Throws the first failure.
 */
export async function converge(stages: readonly Stage[], options: ConvergeOptions): Promise<void> {
  for (const stage of stages) {
    const failures: unknown[] = [];
    await mapBounded(stage.lanes, options.parallel, async (lane) => {
      for (const step of lane) {
        if (failures.length > 0 || options.signal.aborted) return;
        await settle(step, { ...options, direction: stage.direction ?? options.direction }).catch(
          (error: unknown) => failures.push(error),
        );
      }
    });
    options.signal.throwIfAborted();
    if (failures.length > 0) throw failures[0];
  }
}

async function settle(step: Step, options: ConvergeOptions): Promise<void> {
  const { lease, run, direction, signal, onStep } = options;
  const write = (event: JournalEvent) => lease.append(event);
  const title = titleOf(step, direction);
  const about = { run, step: step.id, title, direction };
  try {
    const before = await step.probe(signal);
    if (isThere(before, direction)) {
      write({ ...about, kind: "step-done", by: "probe", inputs: step.inputs, result: resultOf(before) });
      return onStep?.(title, "as it was");
    }
    const { inputs, undoes } = step;
    write({ ...about, kind: "step-started", inputs, undoes });
    onStep?.(title, "started");
    const result = await act(step, direction, signal);
    const after = await step.probe(signal);
    if (!isThere(after, direction)) throw withoutEffect(title, after);
    const done = { ...about, kind: "step-done" as const, by: "run" as const, inputs, result };
    if (step.movesUsers) lease.appendAnyway(done);
    else write(done);
    onStep?.(title, "done");
  } catch (error) {
    // Whoever lost the lease, or is interrupted, has nothing more to say: a resume will probe.
    if (signal.aborted) throw error;
    const failure = failureOf(error);
    unlessFull(() => write({ ...about, kind: "step-failed", error: failure }));
    onStep?.(title, "failed", failure.message);
    throw error;
  }
}

async function act(step: Step, direction: Direction, signal: AbortSignal): Promise<Json> {
  if (direction === "do") return await step.run(signal);
  await step.undo?.(signal);
  return null;
}

function isThere(reality: Reality, direction: Direction): boolean {
  return reality.state === (direction === "do" ? "done" : "absent");
}

function resultOf(reality: Reality): Json {
  return reality.state === "done" ? reality.result : null;
}

export function failureOf(error: unknown): { code: string; message: string } {
  if (error instanceof DoppelError) return { code: error.code, message: error.message };
  return { code: "unexpected", message: messageOf(error) };
}

function withoutEffect(title: string, after: Reality): DoppelError {
  const why = after.state === "partial" ? after.why : "it is as it was before";
  return new DoppelError("step-without-effect", `${title}: it ran, but ${why}`, {
    hint: "look at what the step did; then 'doppel farm resume'",
  });
}
