import { z } from "zod";
import { DoppelError } from "../errors.ts";

const text = z.string().nullish();
const bytes = z.int().nonnegative();

const bootEntrySchema = z.object({ id: z.string(), label: text, active: z.boolean(), loader: text });

const firmwareVariableSchema = z.object({
  name: z.string(),
  guid: z.string(),
  attributes: z.int().nonnegative(),
  /** Hexadecimal. */
  data: z.string().regex(/^([0-9a-f]{2})*$/),
});

const nicSchema = z.object({
  name: z.string(),
  /** `physical`, `bond`, `bridge`, `vlan` or `virtual`. */
  kind: z.string(),
  mac: text,
  /** The address burnt into the card. */
  permanentMac: text,
  driver: text,
  bus: text,
  /** The bond or bridge it belongs to. */
  master: text,
  state: text,
  speedMbps: z.number().optional(),
  addresses: z.array(z.object({ address: z.string(), prefix: z.int() })).default([]),
});

const mountSchema = z.object({
  path: z.string(),
  type: z.string(),
  writable: z.boolean(),
  sizeBytes: bytes.optional(),
  usedBytes: bytes.optional(),
});

const blockDeviceSchema = z.object({
  name: z.string(),
  path: z.string(),
  /** `disk`, `partition`, `md`, `lvm`, `crypt`, `multipath`, `dm`, `loop`, `rom`, `floppy` or `nbd`. */
  kind: z.string(),
  sizeBytes: bytes,
  logicalSectorBytes: z.int(),
  physicalSectorBytes: z.int(),
  removable: z.boolean(),
  readOnly: z.boolean(),
  /** Names of the devices that it lies on. */
  parents: z.array(z.string()),
  /** Its names in /dev/disk/by-id and /dev/disk/by-path. */
  links: z.array(z.string()).default([]),
  model: text,
  serial: text,
  transport: text,
  rotational: z.boolean().optional(),
  partition: z.int().optional(),
  startBytes: bytes.optional(),
  /** `gpt` or `mbr`, of a device that holds a partition table. */
  table: text,
  fsType: text,
  fsUuid: text,
  fsLabel: text,
  dmName: text,
  mdLevel: text,
  /** Of an array with redundancy: `idle`, `check`, `resync`, `recover`, `repair`, `reshape` or `frozen`. */
  mdSyncAction: text,
  backingFile: text,
  mounts: z.array(mountSchema).default([]),
});

/** What the agent saw of a machine; docs/machine-facts.md. Members that are not known here are kept. */
export const machineFactsSchema = z.looseObject({
  schema: z.literal(1),
  collectedAt: z.string(),
  hardware: z.looseObject({
    arch: text,
    vendor: text,
    product: text,
    serial: text,
    cpuModel: text,
    cpus: z.int().positive(),
    sockets: z.int().optional(),
    coresPerSocket: z.int().optional(),
    memoryBytes: bytes,
    hypervisor: z.boolean().optional(),
  }),
  firmware: z.looseObject({
    type: z.enum(["bios", "uefi"]),
    secureBoot: z.boolean().optional(),
    bootOrder: z.array(bootEntrySchema).optional(),
    /** Every UEFI variable; an image keeps them in a blob of their own. */
    variables: z.array(firmwareVariableSchema).optional(),
  }),
  nics: z.array(nicSchema),
  block: z.array(blockDeviceSchema),
  os: z.looseObject({
    id: text,
    versionId: text,
    prettyName: text,
    hostname: text,
    kernel: text,
    kernels: z.array(z.string()).default([]),
    bootLoader: text,
    init: text,
    licenceFamily: text,
  }),
  modules: z.array(z.string()).default([]),
  /** Of an imported machine: members that nobody told, which have a usual value. */
  assumed: z.array(z.string()).optional(),
});

export type MachineFacts = z.infer<typeof machineFactsSchema>;
export type FirmwareVariable = z.infer<typeof firmwareVariableSchema>;
export type BlockDevice = MachineFacts["block"][number];
export type Nic = MachineFacts["nics"][number];

/** Parses machine facts; `facts-invalid` names the first member that does not fit. */
export function parseFacts(value: unknown, of: string): MachineFacts {
  const result = machineFactsSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new DoppelError(
    "facts-invalid",
    `the facts of ${of} are not valid at '${issue?.path.join(".")}': ${issue?.message}`,
  );
}
