import { openConnection } from "../../ssh/connect.ts";
import type { SshConnection } from "../../ssh/connection.ts";
import { parseTarget } from "../../ssh/target.ts";
import type { Farm } from "../file/load.ts";

/** Logs in to `[user@]host[:port]`, or a Host of the ssh configuration that the farm file names; nobody is asked for anything. */
export async function logIn(
  { spec, resolve }: Farm,
  target: string,
  signal: AbortSignal,
): Promise<SshConnection> {
  const { identity, config } = spec.ssh;
  return await openConnection(parseTarget(target), {
    ...(config === undefined ? {} : { files: { configFile: resolve(config) } }),
    ...(identity === undefined ? {} : { identities: [resolve(identity)] }),
    prompt: async () => undefined,
    signal,
  });
}
