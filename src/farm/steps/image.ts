import { DoppelError, EXIT } from "../../errors.ts";
import { materialiseBase } from "../../freezer/base.ts";
import { baseVolume, Pool } from "../../freezer/pool.ts";
import { Virsh } from "../../hypervisor/virsh.ts";
import { formatReference, parseReference, type Reference } from "../../image/reference.ts";
import { pullImage } from "../../registry/pull.ts";
import { Repository } from "../../registry/repository.ts";
import type { StoredImage } from "../../store/image-store.ts";
import { readPolicy } from "../../trust/policy.ts";
import { pullGate } from "../../trust/pull-gate.ts";
import { requireTrusted, type TrustDemands } from "../../trust/require-trusted.ts";
import type { FarmContext } from "../context.ts";
import type { Step } from "../engine/step.ts";
import type { LibvirtBox } from "../file/boxes.ts";

/** The image that the file names. */
export function imageReference({ farm }: FarmContext): Reference {
  const ref = farm.spec.image?.ref;
  if (ref !== undefined) return parseReference(ref);
  throw new DoppelError("farm-file-invalid", `${farm.path} names no image`, { exitCode: EXIT.usage });
}

/** Its name in this store: that of the registry, without the registry. */
function localName({ name, tag, digest, registry }: Reference): Reference {
  return { name, tag, ...(digest !== undefined && registry === undefined ? { digest } : {}) };
}

/** The image as it is in this store; `image-unknown` when it has not been pulled. */
export async function shadowImage(context: FarmContext): Promise<StoredImage> {
  return await context.store.resolve(localName(imageReference(context)));
}

/** The same, held to the policy of the store's folder, and refused when it was revoked: before a machine is made of it. */
export async function trustedImage(context: FarmContext): Promise<StoredImage> {
  const image = await shadowImage(context);
  await requireTrusted(context.store, image, imageReference(context), await demandsOf(context));
  return image;
}

async function demandsOf({ store }: FarmContext): Promise<TrustDemands> {
  return { policy: await readPolicy(store.home), keys: [] };
}

/** Has the image in this store; from a registry it is pulled. */
export function imageStep(context: FarmContext): Step {
  const reference = imageReference(context);
  const text = formatReference(reference);
  return {
    id: "image",
    title: `have the image ${text}`,
    inputs: { image: text },
    undoes: "nothing: the image stays",
    probe: async () => {
      try {
        const { digest } = await shadowImage(context);
        // A tag of a registry may have moved: only a digest says that this is the one.
        if (reference.digest !== undefined && reference.digest !== digest)
          return { state: "partial", why: `${text} is ${digest} here` };
        return { state: "done", result: { digest } };
      } catch (error) {
        if (error instanceof DoppelError && error.code === "image-unknown") return { state: "absent" };
        throw error;
      }
    },
    run: async (signal) => {
      const { registry, name, tag, digest } = reference;
      if (registry === undefined) return { digest: (await trustedImage(context)).digest };
      const local = localName(reference);
      await using _name = context.store.reserveName(local);
      await using repository = await Repository.open({
        registry,
        name,
        access: "pull",
        plainHttp: false,
        signal,
      });
      const accept = pullGate(context.store, reference, await demandsOf(context));
      await pullImage(context.store, repository, digest ?? tag, local, { accept });
      return { digest: (await trustedImage(context)).digest };
    },
  };
}

/** Has the image's disks in a pool of one host, once for all boxes there. */
export function placeImageStep(context: FarmContext, connect: string, poolName: string): Step {
  const virsh = new Virsh(connect);
  return {
    id: `host/${connect}/${poolName}/image`,
    title: `have the image's disks in the pool ${poolName} of ${connect}`,
    inputs: { connect, pool: poolName },
    undoes: "nothing: the image's disks stay for the next shadow",
    probe: async () => {
      const image = await shadowImage(context);
      const pool = await Pool.open(virsh, poolName);
      const names = [...image.config.doppel.disks.keys()].map((index) => baseVolume(image.digest, index));
      const placed = await Promise.all(names.map((name) => pool.isPlaced(name)));
      return placed.every(Boolean) ? { state: "done", result: { volumes: names } } : { state: "absent" };
    },
    run: async (signal) => {
      const image = await trustedImage(context);
      const pool = await Pool.open(virsh, poolName);
      const bases = await materialiseBase(context.store, image, { signal });
      for (const [index, base] of bases.entries())
        await pool.place(baseVolume(image.digest, index), base, signal);
      return { volumes: bases.map((_, index) => baseVolume(image.digest, index)) };
    },
  };
}

/** The hosts of libvirt boxes with a pool, each once. */
export function poolsOf(boxes: readonly LibvirtBox[]): { connect: string; pool: string }[] {
  const pairs = boxes.flatMap(({ connect, pool }) => (pool === undefined ? [] : [{ connect, pool }]));
  return [...new Map(pairs.map((pair) => [`${pair.connect} ${pair.pool}`, pair])).values()];
}
