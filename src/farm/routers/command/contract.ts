import { z } from "zod";
import { ABILITIES } from "../router.ts";
import type { Routing, Side, Site } from "../routing.ts";

/** The version of what goes over standard input and output; docs/routers.md has it. */
export const CONTRACT = 1;

export type Verb = "probe" | "check" | "switch" | "undo" | "statistics";

/** Exit codes of the command. */
export const COMMAND_EXIT = { done: 0, refused: 3 } as const;

/** What the command reads. */
export interface CommandInput {
  contract: typeof CONTRACT;
  site: Site;
  /** What the router should do; missing for `probe` and `statistics`. */
  to?: Routing;
}

const answerer = z
  .string()
  .regex(/^(old|new|none|other:[\x21-\x7e]{1,256})$/, "old, new, none or other:NAME")
  .transform((text) => text as Side | "none" | `other:${string}`);

const routing = z.object({
  live: answerer,
  shadow: answerer,
  canaryPercent: z.int().min(0).max(99).default(0),
});

/** What `probe` prints. */
export const probeOutput = z.object({
  /** What it does now. */
  runtime: routing,
  /** What it would do after a restart; the same when left out. */
  persisted: routing.optional(),
  abilities: z.array(z.enum(ABILITIES)).default([]),
});

const count = z.int().min(0);
const counters = z.object({
  requests: count,
  errors: count,
  clientErrors: count.default(0),
  responseMs: z.number().min(0).optional(),
  inFlight: count.optional(),
  serversUp: count.optional(),
});

/** What `statistics` prints: counters that only grow while `generation` stays the same. */
export const statisticsOutput = z.object({
  generation: z.string().min(1).max(256).default("1"),
  sides: z.object({ old: counters, new: counters }),
});
