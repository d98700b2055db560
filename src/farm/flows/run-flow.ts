import { DoppelError, EXIT } from "../../errors.ts";
import { unlessFull } from "../../store/full-disk.ts";
import { type ConvergeOptions, converge, failureOf } from "../engine/converge.ts";
import type { Farm } from "../file/load.ts";
import { passGates } from "../gates/pass-gates.ts";
import type { FarmLease } from "../journal/lease.ts";
import type { FarmFlow } from "./flow.ts";

export interface RunFlowOptions extends Pick<ConvergeOptions, "parallel" | "onStep"> {
  signal: AbortSignal;
  /** The run that this one goes on with. */
  resumes?: number;
}

/** Runs a flow under a lease and keeps its journal: begin, gates, steps, end. Returns the run's number. */
export async function runFlow(
  farm: Farm,
  flow: FarmFlow,
  lease: FarmLease,
  options: RunFlowOptions,
): Promise<number> {
  const signal = AbortSignal.any([options.signal, lease.signal]);
  const { parallel, onStep } = options;
  const { sequence: run } = lease.append({
    kind: "run-started",
    flow: flow.name,
    arguments: flow.arguments,
    file: { path: farm.path, digest: farm.digest },
    resumes: options.resumes ?? null,
  });
  const settings = { lease, run, direction: flow.direction, parallel, signal, ...(onStep ? { onStep } : {}) };
  try {
    for (const [index, stage] of flow.stages.entries()) {
      const gates = flow.gates
        .filter(({ beforeStage }) => beforeStage === index)
        .flatMap(({ gates }) => gates);
      await passGates(gates, { lease, run, before: index > 0, signal });
      await converge([stage], settings);
    }
  } catch (error) {
    const outcome = outcomeOf(error, signal);
    if (!lease.signal.aborted)
      unlessFull(() => lease.append({ kind: "run-ended", run, outcome, error: failureOf(error) }));
    throw error;
  }
  lease.append({ kind: "run-ended", run, outcome: "done", error: null });
  return run;
}

function outcomeOf(error: unknown, signal: AbortSignal): "failed" | "refused" | "interrupted" {
  if (signal.aborted) return "interrupted";
  return error instanceof DoppelError && error.exitCode === EXIT.refused ? "refused" : "failed";
}
