import { Virsh } from "../../hypervisor/virsh.ts";
import type { Probe } from "../probe.ts";

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
      const what = error instanceof Error ? error.message : String(error);
      const mend =
        "apt-get install libvirt-daemon-system libvirt-clients dnsmasq-base && systemctl start libvirtd";
      return { outcome: "missing", what, mend };
    }
    if (await virsh.isNetworkActive("default"))
      return { outcome: "ok", what: `${uri} answers, network default is active` };
    const what = `${uri} answers, its network default is not active`;
    return { outcome: "degraded", what, mend: `virsh -c ${uri} net-start default` };
  },
};
