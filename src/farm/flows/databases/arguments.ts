import { z } from "zod";
import type { FarmContext } from "../../context.ts";
import type { FarmDatabase } from "../../file/databases.ts";
import type { Json } from "../../journal/entry.ts";
import { restoreRequest } from "../../steps/databases/restores.ts";

const base = z.object({ databases: z.array(z.string()).optional() });

/** What was asked of `databases copy`; what is missing is the default. */
export const copyArguments = base.extend({
  rehearse: z.boolean().default(true),
  /** Milliseconds; by default the file's `gates.copies`. */
  maxAgeMs: z.number().optional(),
});

export const expandArguments = base;

export const pointArguments = base.extend({
  to: z.enum(["live", "copy"]).default("live"),
  /** Only this box's shadow. */
  shadow: z.string().optional(),
});

export const cleanArguments = base.extend({
  /** The safety copies, too. */
  safetyCopies: z.boolean().default(false),
});

/** Each restore has been confirmed, and has names of its own. */
export const restoreArguments = z.object({ restore: z.array(restoreRequest).default([]) });

/** The databases that are named, in the file's order, or all of them. Throws `farm-database-unknown` (exit 2). */
export function chosenDatabases(
  { databases }: FarmContext,
  names: readonly string[] | undefined,
): readonly FarmDatabase[] {
  if (names === undefined) return databases.all();
  const chosen = new Set(names.map((name) => databases.find(name)));
  return databases.all().filter((database) => chosen.has(database));
}

/** Arguments as the journal keeps them: what is not said is left out. */
export function kept(args: Record<string, Json | undefined>): Json {
  return Object.fromEntries(
    Object.entries(args).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
