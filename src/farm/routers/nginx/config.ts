import { isAbsolute } from "node:path";
import { z } from "zod";

const upstreamName = z.string().regex(/^[A-Za-z0-9_.-]{1,128}$/, "letters, digits and _ . -");
const path = z
  .string()
  .refine(isAbsolute, "an absolute path")
  .regex(/^[A-Za-z0-9_./-]{1,512}$/, "letters, digits and _ . / -");

/** What the farm file says about an nginx. */
export const nginxConfig = z.strictObject({
  kind: z.literal("nginx"),
  name: z.string().min(1).max(64).default("nginx"),
  /** Where nginx answers plain HTTP for both addresses, for looking at it: HOST:PORT. */
  address: z.string().regex(/^.+:\d{1,5}$/, "HOST:PORT"),
  /** A folder that nginx's workers can read and this program can write; it holds nothing else. */
  folder: path,
  backends: z
    .strictObject({ old: upstreamName, new: upstreamName })
    .refine((backends) => backends.old !== backends.new, "two upstreams"),
  /** The log of the format that docs/routers.md has; without it there are no statistics. */
  log: path.optional(),
});

export type NginxConfig = z.infer<typeof nginxConfig>;
