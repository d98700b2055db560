import { readdir } from "node:fs/promises";
import { runProgram } from "../../run-program.ts";
import type { Probe } from "../probe.ts";

const APPLIANCE_MS = 180_000;
const KERNEL = process.arch === "arm64" ? "linux-image-arm64" : "linux-image-amd64";

export const guestfsProbe: Probe = {
  name: "libguestfs",
  neededFor: "looking into images (conversion)",
  optional: true,
  async run() {
    try {
      await runProgram("guestfish", ["--version"]);
    } catch {
      return { outcome: "missing", what: "not installed", mend: `apt-get install guestfish ${KERNEL}` };
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
    if (!(await hasKernel()))
      return {
        outcome: "degraded",
        what: "there is no kernel for its appliance",
        mend: `apt-get install ${KERNEL}`,
      };
    return { outcome: "degraded", what: "its appliance does not start", mend: "libguestfs-test-tool" };
  },
};

/** The appliance starts the newest kernel that the system has. */
async function hasKernel(): Promise<boolean> {
  const names = await readdir("/boot").catch(() => []);
  return names.some((name) => name.startsWith("vmlinu"));
}
