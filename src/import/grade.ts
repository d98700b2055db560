import type { Grade } from "../image/config.ts";
import type { CapturePlan } from "../machine/plan.ts";

/** Regions that hold nothing which could be half-written. */
const NO_STATE = new Set(["bios-boot", "partition-table", "boot-gap", "gap"]);

/**
 * The consistency grade of disks that nobody writes to. `offline` only where every file system can be read by its allocation
 * map, which is refused of one that was not unmounted cleanly; `crash` where one was not, or where nobody can tell.
 */
export function gradeOfDisks(plan: CapturePlan): Grade {
  const clean = plan.disks.every(({ regions }) =>
    regions.every(({ kind, method }) => method !== "whole" || NO_STATE.has(kind)),
  );
  return clean ? "offline" : "crash";
}
