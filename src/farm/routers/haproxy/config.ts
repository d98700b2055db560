import { isAbsolute } from "node:path";
import { z } from "zod";

/** A word that means nothing else on HAProxy's command line. */
const backendName = z.string().regex(/^[A-Za-z0-9_.:-]{1,128}$/, "letters, digits and _ . : -");
const mapName = z.string().regex(/^[A-Za-z0-9_./-]{1,512}$/, "a path of letters, digits and _ . / -");

/** What the farm file says about a HAProxy. */
export const haproxyConfig = z.strictObject({
  kind: z.literal("haproxy"),
  name: z.string().min(1).max(64).default("haproxy"),
  /** The line `stats socket` of haproxy.cfg: a path, or HOST:PORT. */
  socket: z.string().refine((text) => isAbsolute(text) || /^.+:\d{1,5}$/.test(text), "a path, or HOST:PORT"),
  /** The map's name, just as haproxy.cfg has it. */
  map: mapName,
  /** The map's file, where that is not its name: a relative one, or one that is seen elsewhere. */
  mapFile: z.string().refine(isAbsolute, "an absolute path").optional(),
  backends: z
    .strictObject({ old: backendName, new: backendName })
    .refine((backends) => backends.old !== backends.new, "two backends"),
});

export type HaproxyConfig = z.infer<typeof haproxyConfig>;
