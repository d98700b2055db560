import type { Direction, Stage } from "../engine/step.ts";
import type { Gate } from "../gates/gate.ts";
import type { Json } from "../journal/entry.ts";

/** A command of the farm that changes the world: what it brings about, and what must be so before. */
export interface FarmFlow {
  /** Its name on the command line. */
  name: string;
  direction: Direction;
  /** What was asked for, so that a resume asks for the same. */
  arguments: Json;
  stages: readonly Stage[];
  gates: readonly StageGates[];
}

/** Gates before a stage, counted from 0. */
export interface StageGates {
  beforeStage: number;
  gates: readonly Gate[];
}
