import { z } from "zod";
import { readiness } from "./checks.ts";
import { command, duration, name, path } from "./values.ts";

const fileStep = z.strictObject({
  kind: z.literal("file"),
  from: path,
  to: z.string().regex(/^\//, "an absolute path begins with /").describe("Its absolute path on the shadow."),
  mode: z
    .string()
    .regex(/^0[0-7]{3}$/, 'a mode is written like "0644"')
    .default("0644"),
});

const scriptStep = z.strictObject({
  kind: z.literal("script"),
  from: path.describe("A script with a #! line; copied to the shadow, run there once, removed."),
  timeout: duration.prefault("10m"),
});

const commandStep = z.strictObject({
  kind: z.literal("command"),
  run: command,
  timeout: duration.prefault("10m"),
  unless: command
    .optional()
    .describe("Exit code 0: it need not run. Without it, it runs once for each shadow."),
});

const provisioningStep = z.discriminatedUnion("kind", [fileStep, scriptStep, commandStep]);

/** How a shadow becomes the new version. */
export const provision = z.strictObject({
  userData: path.optional().describe("cloud-init user-data, given to new shadows on a seed (NoCloud)."),
  networkConfig: path.optional().describe("cloud-init network-config."),
  steps: z.array(provisioningStep).default([]).describe("In order, over SSH as root."),
  reachable: duration.prefault("5m").describe("How long a shadow may take until SSH answers."),
  ready: z.array(readiness).default([]).describe("A shadow is ready when all of these hold."),
  readyWithin: duration.prefault("5m"),
});

/** Something that may run on one side only. */
export const offUntilSwitch = z.strictObject({
  name,
  off: command.describe("Turns it off."),
  on: command.describe("Turns it on."),
  probe: command.describe("Exit code 0: it is on. Any other: it is off."),
  timeout: duration.prefault("30s"),
});

export type ProvisioningStep = z.infer<typeof provisioningStep>;
export type OffUntilSwitch = z.infer<typeof offUntilSwitch>;
