import type { MachineFacts } from "../machine/facts.ts";
import type { GuestSystem } from "./guest-system.ts";
import type { Guestfish } from "./guestfish.ts";
import type { Target } from "./target.ts";

/** What a step may look at; nothing is written while the plan is made. */
export interface GuestContext {
  guestfish: Guestfish;
  system: GuestSystem;
  target: Target;
  /** What the agent saw of the machine. */
  facts: MachineFacts;
}

/** A file that a conversion wrote or changed; the original of a changed one is kept beside it. */
export interface ChangedFile {
  path: string;
  /** Where the original is, or null of a file that was not there. */
  original: string | null;
}

/** One thing that a conversion does. The plan is the list of them; `apply` carries it out. */
export interface Step {
  /** Short and stable: `initramfs`, `network-names`. */
  name: string;
  what: string;
  why: string;
  apply(): Promise<ChangedFile[]>;
}

/** Plans steps of one kind; none when there is nothing to do. Throws `conversion-refused` (exit 3). */
export type Planner = (context: GuestContext) => Promise<Step[]>;
