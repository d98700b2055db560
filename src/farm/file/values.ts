import { z } from "zod";
import { DURATION_PATTERN, parseDuration, parseSize, SIZE_PATTERN } from "../../units.ts";

/** A duration with its unit, as milliseconds. */
export const duration = z
  .string()
  .regex(DURATION_PATTERN, "a duration has a number and a unit: 500ms, 30s, 10m, 2h")
  .transform(parseDuration)
  .meta({ examples: ["30s", "10m"] });

/** A size with its unit, as bytes. */
export const size = z
  .string()
  .regex(SIZE_PATTERN, "a size has a number and a unit: 512M, 2G")
  .transform(parseSize)
  .meta({ examples: ["512M", "2G"] });

/** A share from 0 to 1, written as a percentage. */
export const percentage = z
  .string()
  .regex(/^\d{1,3}(\.\d+)?%$/, "a percentage is written like 5%")
  .transform((text) => Number(text.slice(0, -1)) / 100)
  .refine((share) => share <= 1, "at most 100%");

export const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, "a name has letters, digits and . _ -, at most 63");

export const port = z.int().min(1).max(65_535);

/** A program and its words. Never a shell's line: who wants a shell writes [sh, -c, …]. */
export const command = z
  .array(z.string().min(1), "a command is a list of words, such as [systemctl, stop, cron]")
  .min(1)
  .meta({
    description: "A program and its words, run without a shell.",
    examples: [["systemctl", "stop", "cron"]],
  });

/** A path, relative to the folder of the farm file. */
export const path = z.string().min(1);

const SECRET_HINT =
  "a secret is given by reference only: { env: NAME }, { file: PATH } or { command: [PROGRAM, WORD] }";

/** Where a secret is; what it is never stands in the file. */
export const secret = z
  .union(
    [
      z.strictObject({ env: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/) }),
      z.strictObject({ file: path }),
      z.strictObject({ command }),
    ],
    { error: SECRET_HINT },
  )
  .meta({ description: "A secret by reference: an environment variable, a file, or what a command prints." });

export type SecretReference = z.infer<typeof secret>;
