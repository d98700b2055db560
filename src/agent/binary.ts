import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DoppelError, EXIT, systemErrorCode, wrapError } from "../errors.ts";
import { packageRoot } from "../package-root.ts";

/** Other names under which kernels report an architecture. */
const SAME_ARCHITECTURE: Record<string, string> = { amd64: "x86_64", arm64: "aarch64" };

/**
 * The agent's program for a source that reports `machine` (`uname -m`), or the file `override`.
 *
 * Throws `agent-missing` when it has not been built.
 */
export async function readAgentBinary(machine: string, override?: string): Promise<Buffer> {
  const arch = SAME_ARCHITECTURE[machine] ?? machine;
  if (!/^[a-z0-9_]+$/.test(arch)) {
    throw new DoppelError("agent-missing", `${JSON.stringify(machine)} is not an architecture`, {
      exitCode: EXIT.refused,
    });
  }
  const file = override ?? join(packageRoot(), "native/build", arch, "doppel-agent");
  try {
    return await readFile(file);
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw wrapError(error, "agent-missing", `the agent ${file}`);
    throw new DoppelError("agent-missing", `there is no agent for ${arch} machines: ${file} does not exist`, {
      hint: `make -C native ARCH=${arch}`,
      exitCode: EXIT.refused,
      cause: error,
    });
  }
}
