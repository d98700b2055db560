import { z } from "zod";
import { box, ssh } from "./boxes.ts";
import { check } from "./checks.ts";
import { compare } from "./compare.ts";
import { database } from "./databases.ts";
import { offUntilSwitch, provision } from "./provisioning.ts";
import { router } from "./routers.ts";
import { duration, name, path, percentage, port, size } from "./values.ts";

const site = z.strictObject({
  url: z.url({ protocol: /^https?$/ }).describe("As its users write it."),
  connect: z
    .string()
    .regex(/^.+:\d{1,5}$/, "write it as host:port")
    .optional()
    .describe("host:port to connect to, whatever the name resolves to."),
  ca: path.optional().describe("A file with the certificates to trust besides those of the system."),
});

const shadowSite = site.extend({
  identify: z
    .strictObject({ header: z.string().min(1) })
    .optional()
    .describe(
      "The header in which a shadow names its box: so that each is seen to be reached through the router.",
    ),
});

const image = z
  .strictObject({
    ref: z.string().min(1).optional().describe("REF of an image; it is pulled when it names a registry."),
    channel: z.string().min(1).optional().describe("A channel such as base:stable."),
    policy: path.optional().describe("The signature policy that it must meet."),
  })
  .refine(({ ref, channel }) => (ref === undefined) !== (channel === undefined), "either `ref` or `channel`");

const gates = z.strictObject({
  evidence: duration.prefault("15m").describe("How long the result of a check counts."),
  copies: duration.prefault("24h").describe("How old a safety copy may be when a database is expanded."),
});

const switching = z.strictObject({
  canary: percentage
    .refine((share) => share === 0 || (share >= 0.01 && share < 0.995), "from 1% to 99%, or 0% for none")
    .optional()
    .describe("The share of users who go first, where the router can."),
  rehearsal: z
    .boolean()
    .default(true)
    .describe("Whether the way back is rehearsed with the shadow address before the switch."),
  drain: duration.prefault("30s").describe("How long open connections may take to end."),
  watch: duration
    .prefault("5m")
    .describe("How long the new version is watched; it is switched back by itself."),
  errors: percentage.prefault("1%").describe("More errors than this above the baseline: switched back."),
  latency: z.number().min(1).default(3).describe("So many times the baseline's latency: switched back."),
});

const farm = z
  .strictObject({
    version: z.literal(1),
    name: name.describe("Of the farm; its journal goes by it."),
    sites: z.strictObject({ live: site, shadow: shadowSite }),
    routers: z.array(router).min(1),
    image: image.optional().describe("What the shadows are made of; needed for libvirt boxes."),
    resources: z
      .strictObject({
        cpus: z.int().min(1).max(1024).optional(),
        memory: size.optional(),
        disk: size.optional().describe("Room for what a shadow writes; by default for all of its disks."),
      })
      .prefault({})
      .describe("Of each shadow; by default what was captured."),
    servicePort: port.default(80).describe("Where the application listens on every machine."),
    ssh: ssh.prefault({}),
    boxes: z.array(box).min(1),
    provision: provision.prefault({}),
    off: z.array(offUntilSwitch).default([]).describe("What stays off on a shadow until the switch."),
    databases: z.array(database).default([]),
    checks: z.array(check).default([]),
    compare: compare.prefault({}).describe("What `check --compare` asks both versions."),
    gates: gates.prefault({}),
    switch: switching.prefault({}),
    parallel: z.int().min(1).max(64).default(4).describe("So many boxes, or cells of the matrix, at once."),
  })
  .meta({
    title: "farm.yaml",
    description: "A farm of Doppel: boxes, their shadows, databases and routers.",
  });

export type FarmSpec = z.output<typeof farm>;

/** farm.yaml: the one place where its form is defined; docs/farm.schema.json is made from it. */
export const farmSchema = farm.superRefine(crossReferences);

type Report = (path: (string | number)[], message: string, known?: string[]) => void;

/** What one part of the file says of another. */
function crossReferences(spec: FarmSpec, context: z.RefinementCtx): void {
  const report: Report = (path, message, known) =>
    context.addIssue({ code: "custom", path, message, params: { known } });
  for (const list of ["boxes", "databases", "routers", "off", "checks"] as const)
    refuseTwins(list, spec[list], report);
  const boxes = spec.boxes.map((one) => one.name);
  const databases = spec.databases.map((one) => one.name);
  for (const [index, one] of spec.checks.entries()) {
    for (const [at, name] of (one.boxes ?? []).entries())
      if (!boxes.includes(name)) report(["checks", index, "boxes", at], `there is no box ${name}`, boxes);
    if (one.kind === "sql" && !databases.includes(one.database))
      report(["checks", index, "database"], `there is no database ${one.database}`, databases);
  }
  for (const [index, one] of spec.boxes.entries())
    if (one.kind === "libvirt" && spec.image === undefined)
      report(["boxes", index, "kind"], "a libvirt box is made of an image, and the file names no `image`");
}

function refuseTwins(list: string, members: readonly { name: string }[], report: Report): void {
  const seen = new Set<string>();
  for (const [index, { name }] of members.entries()) {
    if (seen.has(name)) report([list, index, "name"], `there are two ${list} of the name ${name}`);
    seen.add(name);
  }
}
