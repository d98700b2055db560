import { createHash } from "node:crypto";
import { z } from "zod";

export const json = z.json();
export type Json = z.infer<typeof json>;

/** The members of an object; anything else has none. */
export function membersOf(value: Json | undefined): Partial<Record<string, Json>> {
  return isObject(value) ? value : {};
}

export function isObject(value: Json | undefined): value is Record<string, Json> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const failure = z.object({ code: z.string(), message: z.string() });
const direction = z.enum(["do", "undo"]);

/** What one check found, and when: it counts for a time only. */
const evidence = z.object({
  /** Names the check for good: `database/web1/orders`. */
  id: z.string(),
  kind: z.string(),
  from: z.string(),
  to: z.string(),
  passed: z.boolean(),
  /** What was seen, in one sentence. */
  message: z.string(),
  latencyMs: z.number().nullable(),
  /** ISO 8601. */
  time: z.string(),
});

export type Evidence = z.infer<typeof evidence>;

const event = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("run-started"),
    flow: z.string(),
    arguments: json,
    file: z.object({ path: z.string(), digest: z.string() }),
    /** The run that this one goes on with. */
    resumes: z.number().nullable(),
  }),
  z.object({
    kind: z.literal("step-started"),
    run: z.number(),
    step: z.string(),
    title: z.string(),
    direction,
    inputs: json,
    undoes: z.string(),
  }),
  z.object({
    kind: z.literal("step-done"),
    run: z.number(),
    step: z.string(),
    title: z.string(),
    direction,
    /** `probe`: it was so already, nothing was done. */
    by: z.enum(["run", "probe"]),
    inputs: json,
    result: json,
  }),
  z.object({
    kind: z.literal("step-failed"),
    run: z.number(),
    step: z.string(),
    title: z.string(),
    direction,
    error: failure,
  }),
  z.object({ kind: z.literal("evidence"), run: z.number(), cells: z.array(evidence) }),
  z.object({
    kind: z.literal("gate"),
    run: z.number(),
    gate: z.string(),
    passed: z.boolean(),
    message: z.string(),
  }),
  z.object({
    kind: z.literal("run-ended"),
    run: z.number(),
    outcome: z.enum(["done", "failed", "refused", "interrupted"]),
    error: failure.nullable(),
  }),
  z.object({ kind: z.literal("lease-taken-over"), owner: z.string(), since: z.string(), why: z.string() }),
]);

/** What happened. */
export type JournalEvent = z.infer<typeof event>;

const head = z.object({
  farm: z.string(),
  /** Counted from 1. */
  sequence: z.number(),
  /** The hash of the entry before; of the first, zeros. */
  previous: z.string(),
  time: z.string(),
  /** Who wrote it, and under which fencing number. */
  owner: z.string(),
  fencing: z.number(),
});

const storedEntry = head.extend({ event });

/** A line of the journal. */
export type JournalEntry = z.infer<typeof head> & { event: JournalEvent; hash: string };

export const NO_ENTRY = `sha256:${"0".repeat(64)}`;

/** The hash of an entry: the SHA-256 of its stored text, which has the hash of the entry before in it. */
export function entryHash(body: string): string {
  return `sha256:${createHash("sha256").update(body).digest("hex")}`;
}

/** The text of an entry as it is stored and hashed. */
export function entryBody(entry: z.infer<typeof head>, happened: JournalEvent): string {
  return JSON.stringify({ ...entry, event: happened });
}

/** Reads a stored text; throws a ZodError or SyntaxError when it is none. */
export function parseEntry(body: string, hash: string): JournalEntry {
  return { ...storedEntry.parse(JSON.parse(body)), hash };
}
