import { z } from "zod";
import { command, duration, name, path } from "./values.ts";

const backends = z
  .strictObject({ old: name, new: name })
  .describe("The router's own names of the two sides.");

const haproxy = z.strictObject({
  kind: z.literal("haproxy"),
  name,
  socket: z.string().min(1).describe("The line `stats socket` of haproxy.cfg: a path, or HOST:PORT."),
  map: path.describe("The map's name, just as haproxy.cfg has it."),
  mapFile: path.optional().describe("The map's file, where that is not its name."),
  backends,
});

const nginx = z.strictObject({
  kind: z.literal("nginx"),
  name,
  map: path.describe("The included file with the map."),
  backends,
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
