import { z } from "zod";
import { command, duration, name, path, secret } from "./values.ts";

const oldVersionCommon = {
  name,
  timeout: duration.prefault("1m").describe("After that the check has failed."),
};

/** What the old version must still be able to do with an expanded database. */
const oldVersionCheck = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("sql"),
    ...oldVersionCommon,
    query: z.string().min(1).describe("Asked of the expanded copy."),
    equals: z.string().optional().describe("What the first column of the first row must be, as text."),
  }),
  z.strictObject({
    kind: z.literal("command"),
    ...oldVersionCommon,
    run: command.describe("Runs here, beside the farm file; the copy's URL is in DOPPEL_DATABASE_URL."),
    exit: z.int().min(0).max(255).default(0),
    contains: z.string().min(1).optional().describe("Text that its output must contain."),
  }),
]);

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
  safetyCopies: path
    .optional()
    .describe("The folder of the safety copies; by default one in the store's folder."),
  migrations: z.array(path).default([]).describe("SQL files of `databases expand`, in order."),
  oldVersionChecks: z
    .array(oldVersionCheck)
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
    .strictObject({ url: secret })
    .optional()
    .describe("Where the test copy is made; by default beside the database, as NAME_doppel_copy."),
  lockTimeout: duration.prefault("2s").describe("How long a migration may wait for a lock on live."),
  lockAttempts: z
    .int()
    .min(1)
    .max(100)
    .default(10)
    .describe("How often a migration tries to get a lock before it gives up."),
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
export type CommandDatabase = z.infer<typeof otherDatabase>;

/** Engines that are known can be copied; of others the file must say how. */
export function canDo(database: FarmDatabase, what: "copy" | "safetyCopy"): boolean {
  return database.engine !== "commands" || database.commands[what] !== undefined;
}

export type OldVersionCheck = z.infer<typeof oldVersionCheck>;
