import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { DoppelError } from "../../errors.ts";
import { discard } from "../../freezer/discard.ts";
import { type Instance, instanceFolder, readInstance } from "../../freezer/instance.ts";
import { thaw } from "../../freezer/thaw.ts";
import { Virsh } from "../../hypervisor/virsh.ts";
import { formatReference } from "../../image/reference.ts";
import type { FarmContext } from "../context.ts";
import type { Step } from "../engine/step.ts";
import type { LibvirtBox } from "../file/boxes.ts";
import { imageReference, shadowImage, trustedImage } from "./image.ts";
import { readPart } from "./provisioning.ts";

/** Makes the shadow of a libvirt box: a machine of the image, beside the live one. Undone by discarding it. */
export async function shadowStep(context: FarmContext, box: LibvirtBox): Promise<Step> {
  const { farm, store } = context;
  const { name } = context.machines.shadow(box);
  const virsh = new Virsh(box.connect);
  const seed = await seedParts(context, box);
  const { cpus, memory } = { ...farm.spec.resources, ...box.shadow };
  return {
    id: `box/${box.name}/shadow`,
    title: `start the shadow ${name}`,
    inputs: {
      image: formatReference(imageReference(context)),
      connect: box.connect,
      networks: box.shadow.networks,
      cpus: cpus ?? "as captured",
      memoryBytes: memory ?? "as captured",
      userData: seed.userData ? digestOf(seed.userData) : "none",
    },
    undoes: "discards the shadow with its disks; the image stays",
    probe: async () => {
      const instance = await instanceOf(store.home, name);
      const state = await virsh.state(name);
      if (!instance) return leftovers(store.home, name, state);
      const { digest } = await shadowImage(context);
      if (instance.imageDigest !== digest)
        return { state: "partial", why: `${name} is of another image, ${instance.imageDigest}` };
      if (state === "running") return { state: "done", result: { name, digest, uuid: instance.uuid } };
      return { state: "partial", why: `${name} is there and ${state}` };
    },
    run: async (signal) => {
      const instance = await instanceOf(store.home, name);
      const image = await trustedImage(context);
      if (instance && instance.imageDigest !== image.digest)
        throw otherImage(name, instance.imageDigest, image.digest);
      if (instance && (await virsh.state(name)) === "shut off") {
        await virsh.run(["start", name], { signal });
        return { name, digest: image.digest, uuid: instance.uuid };
      }
      await clear(store.home, name);
      const made = await thaw(store, image, {
        image: formatReference(imageReference(context)),
        name,
        connect: box.connect,
        networks: box.shadow.networks,
        ...(box.pool === undefined ? {} : { pool: box.pool }),
        ...(cpus === undefined ? {} : { cpus }),
        ...(memory === undefined ? {} : { memoryBytes: memory }),
        ...seed,
        signal,
      });
      return { name, digest: image.digest, uuid: made.instance.uuid };
    },
    undoTitle: `discard the shadow ${name}`,
    undo: () => clear(store.home, name),
  };
}

/** Removes what there is of a shadow, however far its making had come. */
async function clear(home: string, name: string): Promise<void> {
  if (await instanceOf(home, name)) await discard(home, name);
  else await rm(instanceFolder(home, name), { recursive: true, force: true });
}

async function instanceOf(home: string, name: string): Promise<Instance | undefined> {
  try {
    return await readInstance(home, name);
  } catch (error) {
    if (error instanceof DoppelError && error.code === "instance-unknown") return undefined;
    throw error;
  }
}

/** Without a record: a folder is the start of a making that was cut off; a domain is somebody else's. */
function leftovers(home: string, name: string, state: string) {
  if (state !== "missing")
    return { state: "partial" as const, why: `libvirt has a machine ${name} that is not ours` };
  return existsSync(instanceFolder(home, name))
    ? { state: "partial" as const, why: "its making was cut off" }
    : { state: "absent" as const };
}

async function seedParts(
  { farm }: FarmContext,
  box: LibvirtBox,
): Promise<{ userData?: Buffer; networkConfig?: Buffer }> {
  const userData = box.shadow.userData ?? farm.spec.provision.userData;
  const networkConfig = box.shadow.networkConfig ?? farm.spec.provision.networkConfig;
  if (userData === undefined) return {};
  return {
    userData: await readPart(farm, userData),
    ...(networkConfig === undefined ? {} : { networkConfig: await readPart(farm, networkConfig) }),
  };
}

function otherImage(name: string, is: string, should: string): DoppelError {
  return new DoppelError(
    "shadow-of-other-image",
    `the shadow ${name} was made of ${is}, and the farm names ${should}`,
    {
      hint: `doppel discard ${name}; then provision again`,
    },
  );
}

function digestOf(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}
