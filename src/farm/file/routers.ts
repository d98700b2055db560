import { z } from "zod";
import { command, duration, name, path } from "./values.ts";

const backends = z
  .strictObject({ old: name, new: name })
  .describe("The router's own names of the two sides.");

const ssh = z
  .string()
  .min(1)
  .optional()
  .describe(
    "The machine that it runs on, when that is another one: [user@]host[:port], or a Host of the ssh configuration.",
  );

const haproxy = z.strictObject({
  kind: z.literal("haproxy"),
  name,
  ssh,
  socket: z.string().min(1).describe("The line `stats socket` of haproxy.cfg: a path, or HOST:PORT."),
  map: path.describe("The map's name, just as haproxy.cfg has it."),
  mapFile: path.optional().describe("The map's file, where that is not its name."),
  backends,
});

const nginx = z.strictObject({
  kind: z.literal("nginx"),
  name,
  ssh,
  address: z
    .string()
    .regex(/^.+:\d{1,5}$/, "write it as host:port")
    .describe("Where it answers plain HTTP."),
  folder: path.describe("What its configuration looks into at each request; docs/routers.md."),
  log: path
    .optional()
    .describe("Its log in the format of docs/routers.md: without it nothing can be watched."),
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
