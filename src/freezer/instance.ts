import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeDurableFile } from "../durable-file.ts";
import { DoppelError, EXIT, systemErrorCode } from "../errors.ts";

const instanceSchema = z.object({
  version: z.literal(1),
  name: z.string(),
  uuid: z.string(),
  /** The image as the user named it, and what it was. */
  image: z.string(),
  imageDigest: z.string(),
  connect: z.string(),
  network: z.string(),
  /** All networks of its cards, when there are several. */
  networks: z.array(z.string()).optional(),
  macs: z.array(z.string()),
  /** Where its disks are, when they are not in its folder: volumes of a storage pool. */
  pool: z.object({ name: z.string(), volumes: z.array(z.string()) }).optional(),
  /** The public host key that its seed gave it. */
  hostKey: z.string().optional(),
  created: z.string(),
});

/** A running image: HOME/instances/NAME/instance.json. */
export type Instance = z.infer<typeof instanceSchema>;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Throws `usage` for a name that cannot be a folder's and a domain's. */
export function checkInstanceName(name: string): void {
  if (NAME.test(name)) return;
  throw new DoppelError("usage", `'${name}' is not a name for a machine`, {
    hint: "use letters, digits and . _ -, at most 63",
    exitCode: EXIT.usage,
  });
}

export function instanceFolder(home: string, name: string): string {
  return join(home, "instances", name);
}

export async function writeInstance(home: string, instance: Instance): Promise<void> {
  const path = join(instanceFolder(home, instance.name), "instance.json");
  await writeDurableFile(path, `${JSON.stringify(instance, undefined, 2)}\n`);
}

/** Reads an instance; `instance-unknown` when there is none of that name. */
export async function readInstance(home: string, name: string): Promise<Instance> {
  checkInstanceName(name);
  try {
    const text = await readFile(join(instanceFolder(home, name), "instance.json"), "utf8");
    return instanceSchema.parse(JSON.parse(text));
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error;
    throw new DoppelError("instance-unknown", `there is no machine ${name} here`, {
      hint: "see 'doppel vms'",
    });
  }
}

/** All instances, by name. */
export async function listInstances(home: string): Promise<Instance[]> {
  const names = await readdir(join(home, "instances")).catch(() => []);
  const found: Instance[] = [];
  for (const name of names.sort()) {
    const instance = await readInstance(home, name).catch(() => undefined);
    if (instance) found.push(instance);
  }
  return found;
}
