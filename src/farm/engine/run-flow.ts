import { DoppelError, EXIT } from "../../errors.ts";
import type { Farm } from "../file/load.ts";
import type { Json } from "../journal/entry.ts";
import type { FarmLease } from "../journal/lease.ts";
import { type ConvergeOptions, converge, type Direction, failureOf } from "./converge.ts";
import type { Stage } from "./step.ts";

/** A command of the farm that can be resumed: which stages it brings about, in which direction. */
export interface Flow {
  /** Its name on the command line. */
  name: string;
  direction: Direction;
  stages: readonly Stage[];
  /** What was asked for, so that a resume asks for the same. */
  arguments: Json;
  /** Refuses before the first step; throws a DoppelError of exit code 3. */
  preflight?(run: number, signal: AbortSignal): Promise<void>;
}

export interface RunFlowOptions extends Pick<ConvergeOptions, "parallel" | "onStep"> {
  signal: AbortSignal;
  /** The run that this one goes on with. */
  resumes?: number;
}

/** Runs a flow under a lease and keeps its journal: begin, steps, end. */
export async function runFlow(
  farm: Farm,
  flow: Flow,
  lease: FarmLease,
  options: RunFlowOptions,
): Promise<number> {
  const signal = AbortSignal.any([options.signal, lease.signal]);
  const { sequence: run } = lease.append({
    kind: "run-started",
    flow: flow.name,
    arguments: flow.arguments,
    file: { path: farm.path, digest: farm.digest },
    resumes: options.resumes ?? null,
  });
  try {
    await flow.preflight?.(run, signal);
    const { parallel, onStep } = options;
    await converge(flow.stages, {
      lease,
      run,
      direction: flow.direction,
      parallel,
      signal,
      ...(onStep ? { onStep } : {}),
    });
  } catch (error) {
    if (!lease.signal.aborted)
      lease.append({ kind: "run-ended", run, outcome: outcomeOf(error, signal), error: failureOf(error) });
    throw error;
  }
  lease.append({ kind: "run-ended", run, outcome: "done", error: null });
  return run;
}

function outcomeOf(error: unknown, signal: AbortSignal): "failed" | "refused" | "interrupted" {
  if (signal.aborted) return "interrupted";
  return error instanceof DoppelError && error.exitCode === EXIT.refused ? "refused" : "failed";
}
