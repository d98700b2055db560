import { probeKvm } from "../../hypervisor/capabilities.ts";
import type { Probe } from "../probe.ts";

export const kvmProbe: Probe = {
  name: "kvm",
  neededFor: "machines at full speed",
  optional: true,
  async run() {
    const { works, reason } = await probeKvm();
    if (works) return { outcome: "ok", what: "a guest started" };
    const mend = "modprobe kvm_intel || modprobe kvm_amd   (and virtualisation switched on in the firmware)";
    return { outcome: "degraded", what: `no guest starts, machines run under TCG: ${reason}`, mend };
  },
};
