import { existsSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
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

const FILE = "instance.json";
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
  const path = join(instanceFolder(home, instance.name), FILE);
  await writeDurableFile(path, `${JSON.stringify(instance, undefined, 2)}\n`);
}

/** Removes a machine's folder. What it was goes last: a removal that was cut can be asked for again. */
export async function removeInstance(home: string, name: string): Promise<void> {
  const folder = instanceFolder(home, name);
  for (const file of await readdir(folder).catch(() => []))
    if (file !== FILE) await rm(join(folder, file), { recursive: true, force: true });
  await rm(folder, { recursive: true, force: true });
}

/** False for a folder whose maker was killed before it said which machine it is for. */
export function hasInstance(folder: string): boolean {
  return existsSync(join(folder, FILE));
}

/** Reads an instance; `instance-unknown` when there is none of that name. */
export async function readInstance(home: string, name: string): Promise<Instance> {
  checkInstanceName(name);
  try {
    const text = await readFile(join(instanceFolder(home, name), FILE), "utf8");
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
