import { constants } from "node:fs";
import { access, readFile } from "node:fs/promises";
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
  const file = override ?? builtFor(arch);
  try {
    return await readFile(file);
  } catch (error) {
    throw missing(arch, file, error);
  }
}

/** The agent's program for this machine. Throws `agent-missing` when it has not been built. */
export async function agentPath(): Promise<string> {
  const arch = process.arch === "arm64" ? "aarch64" : "x86_64";
  const file = builtFor(arch);
  try {
    await access(file, constants.X_OK);
    return file;
  } catch (error) {
    throw missing(arch, file, error);
  }
}

function builtFor(arch: string): string {
  return join(packageRoot(), "native/build", arch, "doppel-agent");
}

function missing(arch: string, file: string, cause: unknown): DoppelError {
  if (systemErrorCode(cause) !== "ENOENT") return wrapError(cause, "agent-missing", `the agent ${file}`);
  return new DoppelError("agent-missing", `there is no agent for ${arch} machines: ${file} does not exist`, {
    hint: `make -C native ARCH=${arch}`,
    exitCode: EXIT.refused,
    cause,
  });
}
