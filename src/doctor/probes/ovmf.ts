import { findOvmf } from "../../hypervisor/firmware.ts";
import type { Probe } from "../probe.ts";

export const ovmfProbe: Probe = {
  name: "uefi",
  neededFor: "machines that start by UEFI",
  optional: true,
  async run() {
    try {
      return { outcome: "ok", what: findOvmf().code };
    } catch {
      return { outcome: "missing", what: "no OVMF firmware", mend: "apt-get install ovmf" };
    }
  },
};
