import { z } from "zod";
import { command, duration, name, path } from "./values.ts";

const haproxy = z.strictObject({
  kind: z.literal("haproxy"),
  name,
  socket: z.string().min(1).describe("The runtime API's address: a path, or host:port."),
  ssh: z
    .string()
    .min(1)
    .optional()
    .describe("[user@]host[:port] of the machine that it runs on, when not this one."),
  map: path.describe("The map file, as HAProxy's configuration names it."),
  live: name.describe("The backend of the old version."),
  shadow: name.describe("The backend of the new version."),
});

const nginx = z.strictObject({
  kind: z.literal("nginx"),
  name,
  ssh: z.string().min(1).optional(),
  map: path,
  live: name,
  shadow: name,
  status: z.url().optional(),
});

const commandRouter = z.strictObject({
  kind: z.literal("command"),
  name,
  command: command.describe("The program of docs/routers.md's contract."),
  timeout: duration.prefault("30s"),
});

/** What sends the site's users to one side or the other. */
export const router = z.discriminatedUnion("kind", [haproxy, nginx, commandRouter]);

export type FarmRouter = z.infer<typeof router>;
