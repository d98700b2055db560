import { DoppelError, EXIT } from "../errors.ts";
import { Virsh } from "../hypervisor/virsh.ts";
import { type Instance, readInstance, removeInstance } from "./instance.ts";
import { Pool } from "./pool.ts";

/**
 * Ends a machine and removes it with its overlays. Refuses a domain of that name that is not ours
 * (`domain-foreign`, exit 3). What is gone already is no failure.
 */
export async function discard(home: string, name: string): Promise<void> {
  const instance = await readInstance(home, name);
  const virsh = new Virsh(instance.connect);
  if ((await virsh.state(name)) !== "missing") {
    const uuid = (await virsh.run(["domuuid", name])).stdout.trim();
    if (uuid !== instance.uuid) {
      throw new DoppelError("domain-foreign", `the domain ${name} of ${instance.connect} was not made here`, {
        hint: "remove it with virsh, then discard again",
        exitCode: EXIT.refused,
      });
    }
    await virsh.run(["destroy", name], { allowFailure: true });
    await virsh.run(["undefine", name, "--nvram"]);
  }
  if (instance.pool) await removeVolumes(virsh, instance.pool);
  await removeInstance(home, name);
}

/** The overlays and the seed go; the image's base stays in the pool for the next machine. */
async function removeVolumes(virsh: Virsh, { name, volumes }: NonNullable<Instance["pool"]>): Promise<void> {
  const pool = await Pool.open(virsh, name);
  for (const volume of volumes) await pool.remove(volume);
}
