import { runProgram } from "../../run-program.ts";
import type { Probe } from "../probe.ts";

const APPLIANCE_MS = 180_000;

export const guestfsProbe: Probe = {
  name: "libguestfs",
  neededFor: "looking into images (conversion)",
  optional: true,
  async run() {
    const mend = "apt-get install libguestfs-tools";
    try {
      await runProgram("guestfish", ["--version"]);
    } catch {
      return { outcome: "missing", what: "not installed", mend };
    }
    const env = { LIBGUESTFS_BACKEND: "direct" };
    const started = performance.now();
    const appliance = await runProgram("guestfish", ["-a", "/dev/null", "run"], {
      env,
      timeoutMs: APPLIANCE_MS,
      allowFailure: true,
    });
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    if (appliance.exitCode === 0) return { outcome: "ok", what: `its appliance started in ${seconds} s` };
    return { outcome: "degraded", what: "its appliance does not start", mend: "libguestfs-test-tool" };
  },
};
