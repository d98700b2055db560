import { z } from "zod";
import { command, duration, name, path, port } from "./values.ts";

const common = {
  name,
  boxes: z.array(name).min(1).optional().describe("Only these boxes; all of them by default."),
  timeout: duration.prefault("10s").describe("After that the check has failed."),
};

export const httpCheck = z.strictObject({
  kind: z.literal("http"),
  ...common,
  via: z
    .enum(["site", "box"])
    .default("site")
    .describe("Through the router's shadow address from outside, or straight to each shadow."),
  path: z.string().regex(/^\//, "a path begins with /").default("/"),
  port: port.optional().describe("Of the shadow, for `via: box`; its service port by default."),
  status: z.int().min(100).max(599).default(200),
  contains: z.string().min(1).optional().describe("Text that the body must contain."),
  headers: z.record(z.string(), z.string()).optional().describe("Sent with the request; nothing secret."),
});

export const tcpCheck = z.strictObject({
  kind: z.literal("tcp"),
  ...common,
  from: z.enum(["outside", "shadow"]).default("shadow"),
  host: z.string().min(1).optional().describe("By default the shadow itself."),
  port,
});

export const tlsCheck = z.strictObject({
  kind: z.literal("tls"),
  ...common,
  host: z.string().min(1).optional().describe("The name on the certificate; by default the shadow site's."),
  port: port.optional(),
  days: z.int().min(0).default(14).describe("The certificate must be valid for so many days more."),
  ca: path.optional().describe("A file with the certificates to trust besides those of the system."),
});

export const commandCheck = z.strictObject({
  kind: z.literal("command"),
  ...common,
  run: command.describe("Runs inside each shadow."),
  exit: z.int().min(0).max(255).default(0),
  contains: z.string().min(1).optional().describe("Text that its output must contain."),
});

export const sqlCheck = z.strictObject({
  kind: z.literal("sql"),
  ...common,
  database: name.describe("One of `databases`."),
  query: z.string().min(1),
  equals: z.string().optional().describe("What the first column of the first row must be, as text."),
});

/** The file's own checks. */
export const check = z.discriminatedUnion("kind", [httpCheck, tcpCheck, tlsCheck, commandCheck, sqlCheck]);

/** What tells that a shadow is ready: only what needs nothing but the shadow. */
export const readiness = z.discriminatedUnion("kind", [httpCheck, tcpCheck, commandCheck]);

export type FarmCheck = z.infer<typeof check>;
export type ReadinessCheck = z.infer<typeof readiness>;
