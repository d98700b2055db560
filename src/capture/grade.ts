import type { Grade } from "../image/config.ts";

/** What was true while the disks were copied. */
export interface CopyConditions {
  /** Something was mounted from one of the disks and could be written. */
  writableMounts: boolean;
  /** Every such mount stayed frozen from before the maps were read until the last cluster was read. */
  frozenThroughout: boolean;
}

/** The consistency grade that the conditions allow; never more. */
export function gradeOf(conditions: CopyConditions): Grade {
  if (!conditions.writableMounts) return "offline";
  return conditions.frozenThroughout ? "frozen" : "fuzzy";
}
