import { z } from "zod";
import type { Activity } from "../../databases/activity.ts";
import type { SafetyCopy } from "../../databases/safety-copy.ts";
import { type JournalEntry, type Json, membersOf } from "../../journal/entry.ts";

/** A safety copy as the journal has it. */
export interface RecordedCopy {
  file: string;
  bytes: number;
  sha256: string;
  /** When it was begun, by this machine's clock, ISO 8601. */
  begun: string;
  rehearsed: boolean;
  /** All of it, where it is of a database that we know how to ask. */
  sql?: SafetyCopy;
  result: Json;
}

const counters = z.object({ inserted: z.number(), updated: z.number(), deleted: z.number() });

const activity = z.object({
  at: z.string(),
  source: z.enum(["counters", "counts"]),
  tables: z.record(z.string(), counters),
});

const commandCopy = z.object({
  file: z.string(),
  bytes: z.number(),
  sha256: z.string(),
  seconds: z.number(),
  rehearsal: z.object({ seconds: z.number() }).optional(),
});

const sqlCopy = commandCopy.extend({
  engine: z.enum(["postgres", "mysql"]),
  identity: z.string(),
  database: z.string(),
  serverVersion: z.string(),
  activity,
  rows: z.record(z.string(), z.number().nullable()),
  rehearsal: z.object({ seconds: z.number(), tables: z.number(), rows: z.number() }).optional(),
});

export const stepOf = (database: string, what: string): string => `database/${database}/${what}`;

/** The safety copies of a database that the journal knows, the oldest first. */
export function safetyCopies(entries: readonly JournalEntry[], database: string): RecordedCopy[] {
  const id = stepOf(database, "safety-copy");
  const copies: RecordedCopy[] = [];
  let begun = "";
  for (const { event, time } of entries) {
    if (event.kind === "step-started" && event.step === id) begun = time;
    if (event.kind !== "step-done" || event.step !== id || event.by !== "run") continue;
    const copy = readCopy(event.result, begun);
    if (copy) copies.push(copy);
  }
  return copies;
}

function readCopy(result: Json, begun: string): RecordedCopy | undefined {
  const known = commandCopy.safeParse(result);
  if (!known.success) return undefined;
  const { file, bytes, sha256 } = known.data;
  const copy = { file, bytes, sha256, begun, rehearsed: known.data.rehearsal !== undefined, result };
  const sql = sqlCopy.safeParse(result);
  if (!sql.success) return copy;
  const { rehearsal, ...rest } = sql.data;
  return { ...copy, sql: { ...rest, ...(rehearsal === undefined ? {} : { rehearsal }) } };
}

/** What a database had counted of its writes when that was noted last. */
export function readActivity(result: Json | undefined): Activity | undefined {
  const known = activity.safeParse(result);
  return known.success ? known.data : undefined;
}

/**
 * Whether the database at `address` (as messages have it) is a test copy that the journal knows: begun there, and not
 * dropped since. Only such a one may be made anew or dropped.
 */
export function isOurCopy(entries: readonly JournalEntry[], step: string, address: string): boolean {
  let ours = false;
  for (const { event } of entries) {
    if (event.kind === "step-started" && event.step === step && event.direction === "do")
      ours ||= membersOf(event.inputs).copy === address;
    if (event.kind === "step-done" && event.step === step && event.direction === "undo")
      ours &&= membersOf(event.inputs).copy !== address;
  }
  return ours;
}
