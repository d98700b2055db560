import { writeFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { DoppelError } from "../errors.ts";
import type { Virsh } from "./virsh.ts";

const FIRST_SUBNET = 200;
const LAST_SUBNET = 253;

/**
 * A libvirt network that leads nowhere, with DHCP: what runs on it reaches neither the users of the machine that it is a
 * copy of, nor its databases, nor anything else. It is gone when it is disposed of.
 */
export class IsolatedNetwork implements AsyncDisposable {
  readonly name: string;
  readonly #virsh: Virsh;

  private constructor(virsh: Virsh, name: string) {
    this.#virsh = virsh;
    this.name = name;
  }

  /** Starts it on a subnet that this host does not use; `folder` holds its description meanwhile. */
  static async start(virsh: Virsh, name: string, folder: string): Promise<IsolatedNetwork> {
    const taken = new Set(
      Object.values(networkInterfaces()).flatMap((addresses) =>
        (addresses ?? []).map(({ address }) => address.split(".").slice(0, 3).join(".")),
      ),
    );
    let why = "all subnets are in use";
    for (let subnet = FIRST_SUBNET; subnet <= LAST_SUBNET; subnet++) {
      const prefix = `192.168.${subnet}`;
      if (taken.has(prefix)) continue;
      const path = join(folder, "network.xml");
      await writeFile(path, networkXml(name, prefix), { mode: 0o600 });
      const result = await virsh.run(["net-create", path], { allowFailure: true });
      if (result.exitCode === 0) return new IsolatedNetwork(virsh, name);
      why = result.stderr.trim();
      // Only a subnet that is in use is a reason to try the next one.
      if (!/in use|overlap/i.test(why)) break;
    }
    throw new DoppelError("libvirt-failed", `no isolated network can be started: ${why}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#virsh.run(["net-destroy", this.name], { allowFailure: true });
  }
}

/** No `forward` element: isolated (libvirt, formatnetwork, "Isolated network config"). */
function networkXml(name: string, prefix: string): string {
  return `<network><name>${name}</name><ip address="${prefix}.1" netmask="255.255.255.0">
  <dhcp><range start="${prefix}.2" end="${prefix}.254"/></dhcp></ip></network>\n`;
}
