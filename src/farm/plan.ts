import { messageOf } from "../errors.ts";
import type { FarmContext } from "./context.ts";
import { mapBounded } from "./engine/bounded.ts";
import { type Direction, type Step, titleOf } from "./engine/step.ts";
import type { FarmFlow } from "./flows/flow.ts";
import { makeFlow, PLANNED_FLOWS } from "./flows/flows.ts";
import { type GateResult, lookAtGates } from "./gates/pass-gates.ts";
import { isObject, type Json } from "./journal/entry.ts";
import type { FarmState, RunState, StepState } from "./journal/state.ts";

export interface PlannedStep {
  id: string;
  title: string;
  /** `as it is`: nothing would be done. `later`: a step before it is not done, so that it cannot be looked at. */
  state: "as it is" | "to do" | "to finish" | "later" | "unknown";
  /** Why it is to be finished, or could not be looked at. */
  why?: string;
  /** What differs from when it was done last. */
  changed: string[];
  undoes: string;
}

export interface PlannedFlow {
  name: string;
  direction: Direction;
  gates: GateResult[];
  stages: { title: string; lanes: PlannedStep[][] }[];
}

export interface FarmPlan {
  farm: string;
  file: { path: string; digest: string };
  /** The last run, when the farm file has changed since. */
  fileChangedSince: RunState | null;
  flows: PlannedFlow[];
}

/** What the commands of a farm would do now, from looking at reality. Nothing is touched. */
export async function planFarm(
  context: FarmContext,
  state: FarmState,
  signal: AbortSignal,
): Promise<FarmPlan> {
  const { farm } = context;
  const last = state.runs.at(-1);
  const flows: PlannedFlow[] = [];
  for (const name of PLANNED_FLOWS) {
    const flow = await makeFlow(context, name, {});
    if (flow.stages.length > 0) flows.push(await planFlow(flow, context, state, signal));
  }
  return {
    farm: farm.spec.name,
    file: { path: farm.path, digest: farm.digest },
    fileChangedSince: last && last.file.digest !== farm.digest ? last : null,
    flows,
  };
}

/** What one command would do now. */
export async function planFlow(
  flow: FarmFlow,
  context: FarmContext,
  state: FarmState,
  signal: AbortSignal,
): Promise<PlannedFlow> {
  const stages: PlannedFlow["stages"] = [];
  for (const { title, lanes, standsAlone = false, direction = flow.direction } of flow.stages) {
    const done = stages.every((stage) => stage.lanes.flat().every((step) => step.state === "as it is"));
    // What stands on a step that is not done cannot be looked at; the way back stands on nothing.
    const look = { direction, open: done || standsAlone || flow.direction === "undo", state, signal };
    const planned = await mapBounded(lanes, context.farm.spec.parallel, (lane) => planLane(lane, look));
    stages.push({ title, lanes: planned });
  }
  const gates = await lookAtGates(
    flow.gates.flatMap(({ gates }) => gates),
    signal,
  );
  return { name: flow.name, direction: flow.direction, gates, stages };
}

interface Look {
  direction: Direction;
  /** Whether everything before is done. */
  open: boolean;
  state: FarmState;
  signal: AbortSignal;
}

async function planLane(lane: readonly Step[], look: Look): Promise<PlannedStep[]> {
  const planned: PlannedStep[] = [];
  let open = look.open;
  for (const step of lane) {
    const before = look.state.steps.find((known) => known.step === step.id);
    const found = open ? await lookAt(step, look) : { state: "later" as const };
    if (found.state !== "as it is" && look.direction === "do") open = false;
    const { id, inputs } = step;
    const title = titleOf(step, look.direction);
    const undoes = look.direction === "do" ? step.undoes : `do it again: ${step.title}`;
    planned.push({ ...found, id, title, changed: changedInputs(before, inputs), undoes });
  }
  return planned;
}

async function lookAt(step: Step, { direction, signal }: Look): Promise<Pick<PlannedStep, "state" | "why">> {
  try {
    const reality = await step.probe(signal);
    if (reality.state === "partial") return { state: "to finish", why: reality.why };
    return { state: reality.state === (direction === "do" ? "done" : "absent") ? "as it is" : "to do" };
  } catch (error) {
    signal.throwIfAborted();
    return { state: "unknown", why: messageOf(error) };
  }
}

/** The names of inputs that are not as they were when the step was done last. */
export function changedInputs(before: StepState | undefined, now: Json): string[] {
  if (before?.state !== "done" || !isObject(before.inputs) || !isObject(now)) return [];
  const then = before.inputs;
  const names = new Set([...Object.keys(then), ...Object.keys(now)]);
  return [...names].filter((name) => JSON.stringify(then[name]) !== JSON.stringify(now[name]));
}
