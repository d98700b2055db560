import { z } from "zod";
import { DoppelError } from "../errors.ts";

/** How true to one instant an image is; docs/image-format.md, Config. Never guessed upward. */
export const GRADES = ["offline", "frozen", "snapshot", "crash", "fuzzy"] as const;
export type Grade = (typeof GRADES)[number];

const bytes = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
export const digestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/);

const regionSchema = z.object({
  offsetBytes: bytes,
  lengthBytes: bytes,
  kind: z.string(),
  method: z.enum(["allocation-map", "header", "whole"]),
  usedBytes: bytes,
  path: z.string().optional(),
  partition: z.number().int().optional(),
  mountpoint: z.string().optional(),
  reason: z.string().optional(),
});

const readErrorSchema = z.object({
  cluster: bytes,
  offsetBytes: bytes,
  lengthBytes: bytes,
  message: z.string(),
});

const diskSchema = z.object({
  /** Short name, unique in the image: `sda`. */
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
  /** The device as the source named it: `/dev/sda`. */
  device: z.string(),
  sizeBytes: bytes,
  logicalSectorBytes: z.number().int().min(512).max(65_536),
  map: digestSchema,
  /** Bytes of the clusters that hold data, zeros not counted. */
  dataBytes: bytes,
  regions: z.array(regionSchema),
  readErrors: z.array(readErrorSchema),
  /** Of a child image: the ranges of bytes that differ from its parent. */
  changed: z.array(z.object({ offsetBytes: bytes, lengthBytes: bytes })).optional(),
});

/** What a conversion did to its parent. */
const conversionSchema = z.object({
  target: z.string(),
  steps: z.array(
    z.object({
      name: z.string(),
      what: z.string(),
      /** Files that were written or changed, and where the guest keeps what they were. */
      files: z.array(z.object({ path: z.string(), original: z.string().nullable() })),
      /** What else was set: values of the registry. */
      settings: z.array(z.string()).optional(),
    }),
  ),
});

/** Where an imported image came from. */
const importSchema = z.object({
  startedAt: z.string(),
  finishedAt: z.string(),
  level: z.number().int(),
  /** One a disk, in their order. */
  files: z.array(z.object({ name: z.string(), format: z.string() })),
  readBytes: bytes,
});

const doppelSchema = z.object({
  version: z.literal(1),
  grade: z.enum(GRADES),
  /** Host name of the machine the disks came from. */
  host: z.string(),
  disks: z.array(diskSchema).min(1).max(256),
  /** The blob with the machine's UEFI variables, a layer of the manifest. */
  firmwareVariables: digestSchema.optional(),
  /** What the agent saw; src/machine/facts.ts has the schema. */
  facts: z.record(z.string(), z.unknown()),
  lineage: z.object({
    kind: z.enum(["capture", "import", "convert", "freeze", "edit"]),
    parent: digestSchema.nullable(),
    /** The image with the same disks that this one was made of when it was compacted. */
    replaces: digestSchema.optional(),
  }),
  conversion: conversionSchema.optional(),
  import: importSchema.optional(),
  capture: z
    .object({
      startedAt: z.string(),
      finishedAt: z.string(),
      agentVersion: z.string(),
      level: z.number().int(),
      readBytes: bytes,
      sentBytes: bytes,
      frozenMilliseconds: z.number().nullable(),
    })
    .optional(),
});

/** The config blob of an image: an OCI image config with one more member. */
export const imageConfigSchema = z.looseObject({
  created: z.string(),
  architecture: z.string(),
  os: z.string(),
  doppel: doppelSchema,
});

export type ImageConfig = z.infer<typeof imageConfigSchema>;
export type DoppelConfig = z.infer<typeof doppelSchema>;
export type ConversionRecord = z.infer<typeof conversionSchema>;
export type ReadErrorRecord = z.infer<typeof readErrorSchema>;

/** Most bytes of a config or a manifest that are read: bounds memory whatever a foreign image claims. */
export const MAX_JSON_BLOB_BYTES = 16 * 1024 * 1024;

/** Wraps Doppel's own part into an OCI image config (OCI image specification, config.md). */
export function buildImageConfig(
  doppel: DoppelConfig,
  machine: { architecture: string; created: string },
): ImageConfig {
  return {
    created: machine.created,
    architecture: machine.architecture,
    os: "linux",
    config: { Labels: { "org.doppel.host": doppel.host, "org.doppel.grade": doppel.grade } },
    rootfs: { type: "layers", diff_ids: [] },
    doppel,
  };
}

/** Parses a config blob; `config-corrupt` names what does not fit. */
export function parseImageConfig(blob: Buffer, name: string): ImageConfig {
  return parseJsonBlob(blob, imageConfigSchema, "config-corrupt", `config of ${name}`);
}

/** Parses a JSON blob by a schema; fails with `code`, naming the blob and the first thing that does not fit. */
export function parseJsonBlob<T>(blob: Buffer, schema: z.ZodType<T>, code: string, name: string): T {
  let value: unknown;
  try {
    value = JSON.parse(blob.toString("utf8"));
  } catch (cause) {
    throw new DoppelError(code, `the ${name} is not JSON`, { cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new DoppelError(code, `the ${name} is not valid at '${issue?.path.join(".")}': ${issue?.message}`);
}
