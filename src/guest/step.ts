import type { MachineFacts } from "../machine/facts.ts";
import type { GuestSystem } from "./guest-system.ts";
import type { Guestfish } from "./guestfish.ts";
import type { InterfaceSettings } from "./network-settings.ts";
import type { Target } from "./target.ts";

/** What the user asked for beyond booting. */
export interface Wishes {
  /** A serial console, too. */
  console: boolean;
  /** Scripts for the first boot, in order. */
  firstboot: { name: string; content: Buffer }[];
  /** What tells the machine from its copies is removed. */
  sysprep: boolean;
  /** Its new host name. */
  hostname?: string;
  /** The target's guest agent is installed on the first boot. */
  guestAgent: boolean;
  /** What only physical hardware needs goes on running. */
  keepResidue: boolean;
  /** The guest's own generator makes its initramfs files. */
  rebuildInitramfs: boolean;
  /** Addresses instead of those captured. */
  network: readonly InterfaceSettings[];
  /** The drivers for Windows: the virtio-win ISO, or a folder with what is in it. */
  virtioWin?: VirtioWin;
}

/** Where the drivers for Windows are. */
export interface VirtioWin {
  path: string;
  kind: "iso" | "folder";
}

/** What a step may look at; nothing is written while the plan is made. */
export interface GuestContext {
  guestfish: Guestfish;
  system: GuestSystem;
  target: Target;
  /** What the agent saw of the machine. */
  facts: MachineFacts;
  wishes: Wishes;
  /** A private folder for copies that are worked on. */
  workFolder: string;
}

/** What is to be done to a guest. */
export interface GuestPlan {
  steps: Step[];
  /** File systems of the guest that could not be mounted. */
  skippedMounts: string[];
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
  /** Bytes that it takes on the file system of each path, at least; a whole conversion without room is refused. */
  adds?: { path: string; bytes: number }[];
  /** What it sets that is no file of its own: values of the registry. */
  settings?: string[];
  apply(): Promise<ChangedFile[]>;
}

/** Plans steps of one kind; none when there is nothing to do. Throws `conversion-refused` (exit 3). */
export type Planner = (context: GuestContext) => Promise<Step[]>;
