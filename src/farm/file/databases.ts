import { z } from "zod";
import { check } from "./checks.ts";
import { command, duration, name, path, secret } from "./values.ts";

const common = {
  name,
  query: z
    .string()
    .min(1)
    .default("SELECT 1")
    .describe("What the matrix asks after a real login from every shadow."),
  point: z
    .strictObject({
      live: command.describe("Runs in a shadow: its application then uses the live database."),
      copy: command.describe("Runs in a shadow: its application then uses the test copy."),
      probe: command.describe("Runs in a shadow and prints `live` or `copy`."),
      timeout: duration.prefault("1m"),
    })
    .optional(),
  migrations: z.array(path).default([]).describe("SQL files of `databases expand`, in order."),
  oldVersionChecks: z
    .array(check)
    .default([])
    .describe("The old version's own checks, run against the copy after it was expanded."),
};

const sqlDatabase = z.strictObject({
  engine: z.enum(["postgres", "mariadb", "mysql"]),
  ...common,
  url: secret.describe("The live database's URL, of a user who may migrate it."),
  applicationUrl: secret
    .optional()
    .describe("With what the application logs in; by default `url`. For the matrix."),
  copy: z
    .strictObject({ url: secret, method: z.enum(["dump", "template"]).default("dump") })
    .optional()
    .describe("The test copy: where it is made."),
  lockTimeout: duration.prefault("2s").describe("How long a migration may wait for a lock on live."),
});

const otherDatabase = z.strictObject({
  engine: z.literal("commands"),
  ...common,
  commands: z.strictObject({
    check: command.describe("Runs in each shadow: exit code 0 when a login and a query worked."),
    copy: command.optional(),
    safetyCopy: command.optional(),
    rehearse: command.optional(),
    expand: command.optional(),
    restore: command.optional(),
  }),
});

export const database = z.discriminatedUnion("engine", [sqlDatabase, otherDatabase]);

export type FarmDatabase = z.infer<typeof database>;
export type SqlDatabase = z.infer<typeof sqlDatabase>;
