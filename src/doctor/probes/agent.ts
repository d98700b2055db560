import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readAgentBinary } from "../../agent/binary.ts";
import { messageOf } from "../../errors.ts";
import { runProgram } from "../../run-program.ts";
import type { Probe } from "../probe.ts";

const ARCHITECTURES: Record<string, string> = { x64: "x86_64", arm64: "aarch64" };

export const agentProbe: Probe = {
  name: "agent",
  neededFor: "capturing",
  optional: false,
  async run() {
    const arch = ARCHITECTURES[process.arch] ?? process.arch;
    try {
      return { outcome: "ok", what: await versionOf(await readAgentBinary(arch)) };
    } catch (error) {
      const what = messageOf(error);
      return { outcome: "missing", what, mend: `make -C native ARCH=${arch}` };
    }
  },
};

/** Runs a copy of the agent, as it would run on a source. */
async function versionOf(binary: Buffer): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "doppel-doctor-"));
  try {
    const path = join(folder, "doppel-agent");
    await writeFile(path, binary, { mode: 0o700 });
    return (await runProgram(path, ["--version"])).stdout.trim();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
