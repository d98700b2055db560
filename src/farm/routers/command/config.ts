import { z } from "zod";

/** What the farm file says about a router that a command of the user's talks to. */
export const commandConfig = z.strictObject({
  kind: z.literal("command"),
  name: z.string().min(1).max(64).default("command"),
  /** The program and its arguments; the verb is added as the last one. */
  command: z.array(z.string().min(1)).min(1).max(64),
  /** A verb that takes longer has failed. Default: 30,000. */
  timeoutMs: z.int().min(100).max(600_000).default(30_000),
});

export type CommandConfig = z.infer<typeof commandConfig>;
