import { freemem } from "node:os";
import { DoppelError, EXIT } from "../errors.ts";
import { freeMemory } from "../hypervisor/host-memory.ts";
import type { Virsh } from "../hypervisor/virsh.ts";
import type { ImageStore } from "../store/image-store.ts";
import { formatBytes } from "../units.ts";
import { type Instance, listInstances } from "./instance.ts";

export interface ChosenMachine {
  cpus: number;
  memoryBytes: number;
  macs: string[];
}

/** Where a machine is to run. */
interface Placement {
  name: string;
  connect: string;
  networks: readonly string[];
  pool?: string;
}

/** Refuses what cannot work on that host, before anything is made (exit 3). */
export async function checkHost(
  store: ImageStore,
  virsh: Virsh,
  options: Placement,
  machine: ChosenMachine,
): Promise<void> {
  if (!virsh.isLocal && options.pool === undefined)
    throw refused(
      "pool-needed",
      `libvirt of ${options.connect} cannot read the disks that lie here`,
      "name a storage pool of it with --pool",
    );
  if ((await virsh.state(options.name)) !== "missing") {
    throw refused(
      "domain-exists",
      `libvirt has a machine ${options.name} already`,
      "choose another one with --name",
    );
  }
  const freeBytes = virsh.isLocal ? freemem() : await freeMemory(virsh);
  if (machine.memoryBytes > freeBytes) {
    const message = `${options.name} wants ${formatBytes(machine.memoryBytes)} of memory, ${formatBytes(freeBytes)} are free`;
    throw refused("memory-short", message, "give it less with --memory 2G");
  }
  for (const network of new Set(options.networks)) {
    if (await virsh.isNetworkActive(network)) continue;
    const message = `libvirt's network ${network} is not there or not started`;
    throw refused("network-inactive", message, `virsh -c ${options.connect} net-start ${network}`);
  }
  for (const other of await listInstances(store.home)) {
    const mac = other.macs.find((candidate) => machine.macs.includes(candidate));
    const clashes =
      mac !== undefined && sharesNetwork(other, options.networks) && other.connect === options.connect;
    if (!clashes || (await virsh.state(other.name)) !== "running") continue;
    const message = `${other.name} runs on network ${other.network} with the same address ${mac}`;
    throw refused("mac-in-use", message, `doppel discard ${other.name}, or choose another --network`);
  }
}

function sharesNetwork(other: Instance, networks: readonly string[]): boolean {
  return (other.networks ?? [other.network]).some((network) => networks.includes(network));
}

function refused(code: string, message: string, hint: string): DoppelError {
  return new DoppelError(code, message, { hint, exitCode: EXIT.refused });
}
