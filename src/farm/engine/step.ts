import type { Json } from "../journal/entry.ts";

export type Direction = "do" | "undo";

/** What a probe finds. `partial`: begun and not whole; it is finished by `run`, or cleared away by `undo`. */
export type Reality =
  | { state: "absent" }
  | { state: "partial"; why: string }
  | { state: "done"; result: Json };

/**
 * One change of the world. Each member can be called at any time and again: what is so already is left alone, so that a
 * run which was killed anywhere goes on by asking `probe`.
 */
export interface Step {
  /** Names the step for good: `box/web1/shadow`. */
  id: string;
  title: string;
  /** What its result depends on; a plan says which of it changed. Nothing secret. */
  inputs: Json;
  /** What `undo` does, in one sentence; or why there is nothing to undo. */
  undoes: string;
  /** What `undo` is called while it is done, as `title` is what `run` is called. */
  undoTitle?: string;
  /** Users are elsewhere once it is done: what follows must not end for want of space to record it. */
  movesUsers?: boolean;
  /** Looks at reality and changes nothing. */
  probe(signal: AbortSignal): Promise<Reality>;
  /** Makes it so; what it returns goes to the journal: nothing secret. */
  run(signal: AbortSignal): Promise<Json>;
  undo?(signal: AbortSignal): Promise<void>;
}

/** What is done when a step goes that way. */
export function titleOf({ title, undoTitle }: Step, direction: Direction): string {
  return direction === "do" ? title : (undoTitle ?? `undo: ${title}`);
}

/** Lanes run at the same time, the steps of a lane one after another. */
export interface Stage {
  title: string;
  /** Where its steps go, when that is another way than the rest of the flow. */
  direction?: Direction;
  /** It needs nothing of the stages before it, so that a plan can look at it at once. */
  standsAlone?: boolean;
  lanes: Step[][];
}

/** The stages that undo these, the last first; what has no undo stays. */
export function reversed(stages: readonly Stage[]): Stage[] {
  return stages.toReversed().map(({ title, lanes }) => ({
    title: `undo: ${title}`,
    lanes: lanes.map((lane) => lane.toReversed().filter((step) => step.undo !== undefined)),
  }));
}
