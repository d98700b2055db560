import { existsSync } from "node:fs";
import { messageOf } from "../../errors.ts";
import { Virsh } from "../../hypervisor/virsh.ts";
import type { Probe } from "../probe.ts";

const INSTALL = "apt-get install libvirt-daemon-system libvirt-clients dnsmasq-base";

export const libvirtProbe: Probe = {
  name: "libvirt",
  neededFor: "starting machines",
  optional: false,
  async run() {
    const uri = Virsh.defaultUri();
    const virsh = new Virsh(uri);
    try {
      await virsh.run(["version"]);
    } catch (error) {
      const what = messageOf(error);
      return { outcome: "missing", what, mend: `${INSTALL} && ${startCommand()}` };
    }
    if (await virsh.isNetworkActive("default"))
      return { outcome: "ok", what: `${uri} answers, network default is active` };
    const what = `${uri} answers, its network default is not active`;
    return { outcome: "degraded", what, mend: `virsh -c ${uri} net-start default` };
  },
};

/** A container often has no systemd: there the daemons are started by hand. */
function startCommand(): string {
  return existsSync("/run/systemd/system") ? "systemctl start libvirtd" : "virtlogd -d && libvirtd -d";
}
