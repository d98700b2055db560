import type { Duplex } from "node:stream";
import type { Client } from "ssh2";
import { DoppelError } from "../errors.ts";
import type { Credentials } from "./authenticate.ts";
import { SshConnection } from "./connection.ts";
import { shakeHands } from "./handshake.ts";
import { parseTarget, type Target } from "./target.ts";
import { openSocket, unreachable } from "./tcp.ts";
import { type Prompt, terminalPrompt } from "./terminal-prompt.ts";
import { type HostSettings, resolveHost, type UserFiles } from "./user-config.ts";

export interface ConnectOptions {
  /** Key files named for this run (`--identity`). */
  identities?: string[];
  /** Where the user's ssh files are. */
  files?: UserFiles;
  /** Socket of the ssh-agent; null for none. Default: IdentityAgent of the configuration, else SSH_AUTH_SOCK. */
  agentSocket?: string | null;
  /** Asks for passphrases and passwords. Default: on the terminal. */
  prompt?: Prompt;
  signal?: AbortSignal;
}

const MOST_HOPS = 8;

/**
 * Opens an SSH connection to a target, through its jump hosts; the key of every host on the way is verified.
 *
 * Throws the errors of `resolveHost`, `openSocket` and `shakeHands`.
 */
export async function openConnection(
  target: Target | string,
  options: ConnectOptions = {},
): Promise<SshConnection> {
  const route = routeTo(typeof target === "string" ? parseTarget(target) : target, options.files);
  const clients: Client[] = [];
  try {
    for (const [index, host] of route.entries()) {
      const stream = await openStream(host, clients.at(-1), route[index - 1], options.signal);
      clients.push(await shakeHands(stream, host, credentialsFor(host, options), options.signal));
    }
    return new SshConnection(clients, route.at(-1) as HostSettings);
  } catch (error) {
    for (const client of clients.reverse()) client.destroy();
    throw error;
  }
}

/**
 * The hosts to connect to in order, the target last. As in OpenSSH, a list of jump hosts is passed from first to last,
 * and only the first one is reached as its own configuration says.
 */
export function routeTo(target: Target, files: UserFiles = {}): HostSettings[] {
  const host = resolveHost(target, files);
  const route = [host];
  let [first, ...others] = host.proxyJump;
  route.unshift(...others.map((hop) => resolveHost(hop, files)));
  while (first !== undefined) {
    if (route.length > MOST_HOPS) {
      throw new DoppelError(
        "ssh-config-invalid",
        `${target.host} is reached through more than ${MOST_HOPS} jump hosts`,
        {
          hint: "look for a ProxyJump that leads back to itself; exclude the jump host from it with 'Host * !NAME'",
        },
      );
    }
    const hop = resolveHost(first, files);
    [first, ...others] = hop.proxyJump;
    route.unshift(...others.map((next) => resolveHost(next, files)), hop);
  }
  return route;
}

async function openStream(
  host: HostSettings,
  through: Client | undefined,
  jumpHost: HostSettings | undefined,
  signal: AbortSignal | undefined,
): Promise<Duplex> {
  if (through === undefined) return openSocket(host, signal);
  return new Promise((resolve, reject) => {
    through.forwardOut("127.0.0.1", 0, host.hostname, host.port, (error, stream) => {
      if (error) reject(unreachable(host, error, ` through ${jumpHost?.name ?? "the jump host"}`));
      else resolve(stream);
    });
  });
}

function credentialsFor(host: HostSettings, options: ConnectOptions): Credentials {
  const configured = host.identityAgent ?? process.env.SSH_AUTH_SOCK;
  const socket = options.agentSocket === undefined ? configured : (options.agentSocket ?? undefined);
  return {
    identities: options.identities ?? [],
    agentSocket: socket === "none" ? undefined : socket,
    prompt: options.prompt ?? terminalPrompt,
  };
}
