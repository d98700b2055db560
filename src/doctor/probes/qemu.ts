import { runProgram } from "../../run-program.ts";
import type { Probe } from "../probe.ts";

export const qemuProbe: Probe = {
  name: "qemu",
  neededFor: "starting machines",
  optional: false,
  async run() {
    try {
      const { stdout } = await runProgram("qemu-system-x86_64", ["--version"]);
      await runProgram("qemu-img", ["--version"]);
      return { outcome: "ok", what: stdout.split("\n")[0] ?? "" };
    } catch {
      const mend = "apt-get install qemu-system-x86 qemu-utils";
      return { outcome: "missing", what: "QEMU or qemu-img is not installed", mend };
    }
  },
};
