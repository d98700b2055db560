import { resolveHost } from "../../ssh/user-config.ts";
import type { Probe } from "../probe.ts";

export const sshProbe: Probe = {
  name: "ssh",
  neededFor: "reaching a machine",
  optional: false,
  async run() {
    // Reads the user's own configuration and the system's, as a capture does.
    const { identityFiles } = resolveHost({ host: "localhost" });
    const agent = process.env.SSH_AUTH_SOCK ? "an ssh-agent" : "no ssh-agent";
    return {
      outcome: "ok",
      what: `the configuration reads well; ${agent}, ${identityFiles.length} key files looked for`,
    };
  },
};
