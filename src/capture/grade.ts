import type { Grade } from "../image/config.ts";

/** What was true while the disks were copied. */
export interface CopyConditions {
  /** Something was mounted from one of the disks and could be written. */
  writableMounts: boolean;
  /**
   * What became of such mounts from before the maps were read until the last cluster was read. `frozen`: nothing could
   * be written, or nothing was written to what had been synced. `still`: nothing was written, but some of it may have
   * had more to write. `written`: none of these is known.
   */
  mounts: "frozen" | "still" | "written";
}

/** The consistency grade that the conditions allow; never more. */
export function gradeOf({ writableMounts, mounts }: CopyConditions): Grade {
  if (!writableMounts) return "offline";
  return ({ frozen: "frozen", still: "crash", written: "fuzzy" } as const)[mounts];
}
