import { z } from "zod";
import { duration } from "./values.ts";

const pattern = z
  .string()
  .min(1)
  .refine((text) => {
    try {
      new RegExp(text, "gu");
      return true;
    } catch {
      return false;
    }
  }, "a regular expression of JavaScript");

/** What `check --compare` asks both versions, and what may differ. */
export const compare = z.strictObject({
  requests: z
    .array(z.string().regex(/^\//, "a path begins with /"))
    .default(["/"])
    .describe("Paths that are asked with GET of the live and of the shadow address."),
  headers: z.record(z.string(), z.string()).optional().describe("Sent with each request; nothing secret."),
  ignore: z
    .array(pattern)
    .default([])
    .describe("Regular expressions; what they match is left out of both bodies before they are compared."),
  times: z
    .int()
    .min(1)
    .max(100)
    .default(3)
    .describe("Each is asked so often of both; the median time counts."),
  latency: z.number().min(1).default(2).describe("So many times slower than live, and 50 ms: a difference."),
  timeout: duration.prefault("10s"),
});
