import { z } from "zod";
import type { JournalEntry } from "../../journal/entry.ts";
import { stepOf } from "./records.ts";

/** One restore, asked for once: its names tell whether it was done, so that a resume does it no second time. */
export const restoreRequest = z.object({
  database: z.string(),
  /** The safety copy's file. */
  copy: z.string(),
  /** These three are databases; empty for one that commands handle. */
  replacement: z.string(),
  kept: z.string(),
  aside: z.string(),
});

export type RestoreRequest = z.infer<typeof restoreRequest>;

export const restoreId = (database: string): string => stepOf(database, "restore");

/** The step that drops what a restore has left. */
export const dropId = (database: string, name: string): string => stepOf(database, `drop/${name}`);

/** A restore as the journal has it. */
export interface KnownRestore {
  request: RestoreRequest;
  /** When it was begun, ISO 8601. */
  begun: string;
  /** Where it stands: `cut off` when no end of it is known. */
  state: "done" | "undone" | "cut off";
}

/** The restores of a database that the journal knows, the oldest first. */
export function knownRestores(entries: readonly JournalEntry[], database: string): KnownRestore[] {
  const restores = new Map<string, KnownRestore>();
  for (const { event, time } of entries) {
    if (event.kind !== "step-started" && event.kind !== "step-done") continue;
    if (event.step !== restoreId(database)) continue;
    const request = restoreRequest.safeParse(event.inputs);
    if (!request.success || request.data.replacement === "") continue;
    const ended = event.direction === "do" ? ("done" as const) : ("undone" as const);
    const state = event.kind === "step-done" ? ended : ("cut off" as const);
    const begun = restores.get(request.data.kept)?.begun ?? time;
    restores.set(request.data.kept, { request: request.data, begun, state });
  }
  return [...restores.values()];
}
