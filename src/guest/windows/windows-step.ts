import type { GuestContext } from "../step.ts";
import type { DriverSource } from "./driver-source.ts";
import type { FirstbootScript } from "./firstboot-scripts.ts";
import type { Hive } from "./hive.ts";
import type { RegEdit } from "./reg-file.ts";
import type { WindowsGuest } from "./windows-guest.ts";

/** A file that a step puts into the guest. */
export interface NewFile {
  path: string;
  bytes: number;
  content(): Promise<Buffer>;
}

/** One thing that is done to a Windows guest: all of it is data, which `planWindows` makes a step of. */
export interface WindowsStep {
  name: string;
  what: string;
  why: string;
  files?: readonly NewFile[];
  edits?: readonly { hive: Hive; edits: readonly RegEdit[] }[];
  scripts?: readonly FirstbootScript[];
}

export interface WindowsContext extends GuestContext {
  windows: WindowsGuest;
  /** None without `--virtio-win`. */
  drivers: DriverSource | undefined;
}

/** Plans one thing; undefined when there is nothing to do. Throws `conversion-refused` (exit 3). */
export type WindowsPlanner = (context: WindowsContext) => Promise<WindowsStep | undefined>;
