import { Virsh } from "../hypervisor/virsh.ts";
import { type Instance, listInstances } from "./instance.ts";

export interface InstanceStatus extends Instance {
  state: string;
  addresses: string[];
}

/** Every machine made here, with what libvirt says of it; `unreachable` when its libvirt does not answer. */
export async function listMachines(home: string): Promise<InstanceStatus[]> {
  return await Promise.all((await listInstances(home)).map(statusOf));
}

async function statusOf(instance: Instance): Promise<InstanceStatus> {
  const virsh = new Virsh(instance.connect);
  const state = await virsh.state(instance.name).catch(() => "unreachable");
  const addresses = state === "running" ? await virsh.addresses(instance.name).catch(() => []) : [];
  return { ...instance, state, addresses };
}
