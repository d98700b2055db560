import { homedir, hostname, userInfo } from "node:os";
import { isAbsolute, join } from "node:path";
import { DoppelError, EXIT } from "../errors.ts";
import { applyConfigFile } from "./config-file.ts";
import { parsePort, parseTarget, type Target } from "./target.ts";

/** Where the user's ssh files are; every member has a default. */
export interface UserFiles {
  /** Default: the user's home directory. */
  home?: string;
  /** Read instead of ~/.ssh/config and /etc/ssh/ssh_config. */
  configFile?: string;
  /** Read in the order given instead of those that the configuration names. */
  knownHostsFiles?: string[];
}

/** Everything needed to reach one host: the target completed by the ssh configuration and OpenSSH's defaults. */
export interface HostSettings {
  /** As the user wrote it, for messages and for matching. */
  name: string;
  hostname: string;
  port: number;
  user: string;
  /** Absolute paths; `identitiesGiven` tells whether the configuration named them or they are the defaults. */
  identityFiles: string[];
  identitiesGiven: boolean;
  identitiesOnly: boolean;
  /** Hosts to pass through, nearest first. */
  proxyJump: Target[];
  knownHostsFiles: string[];
  hostKeyAlias?: string;
  /** Socket of the ssh-agent, or `none`, where the configuration names it (IdentityAgent). */
  identityAgent?: string;
  keepaliveIntervalMs: number;
  keepaliveCountMax: number;
  connectTimeoutMs: number;
}

const DEFAULT_IDENTITIES = ["id_ed25519", "id_ecdsa", "id_rsa"];
const DEFAULT_KEEPALIVE_SECONDS = 15;
const DEFAULT_CONNECT_SECONDS = 15;

/**
 * Completes a target with the user's and the system's ssh configuration.
 *
 * Throws `ssh-config-invalid`, and `ssh-proxy-command` for a ProxyCommand, which is not supported.
 */
export function resolveHost(target: Target, files: UserFiles = {}): HostSettings {
  const home = files.home ?? homedir();
  const localUser = userInfo().username;
  const values = new Map<string, string[]>();
  const context = {
    originalHost: target.host,
    ...(target.user === undefined ? {} : { user: target.user }),
    localUser,
    home,
  };
  const configFiles = files.configFile
    ? [files.configFile]
    : [join(home, ".ssh/config"), "/etc/ssh/ssh_config"];
  for (const file of configFiles) applyConfigFile(file, context, values);

  const first = (name: string): string | undefined => values.get(name)?.[0];
  const host = expandTokens(first("hostname") ?? target.host, { h: target.host });
  const port = target.port ?? parseOptionPort(first("port"));
  const user = target.user ?? first("user") ?? localUser;
  refuseProxyCommand(target.host, values);
  const tokens = {
    ...{ d: home, h: host, l: hostname(), L: hostname().split(".")[0] ?? "" },
    ...{ n: target.host, p: String(port), r: user, u: localUser },
  };
  const path = (word: string) => absolutePath(expandTokens(word, tokens), home);
  const identities = values.get("identityfile")?.filter((word) => word.toLowerCase() !== "none");
  const alias = first("hostkeyalias");
  const agent = first("identityagent");
  return {
    name: target.host,
    hostname: host,
    port,
    user,
    identityFiles: identities?.map(path) ?? DEFAULT_IDENTITIES.map((name) => join(home, ".ssh", name)),
    identitiesGiven: identities !== undefined,
    identitiesOnly: first("identitiesonly")?.toLowerCase() === "yes",
    proxyJump: parseProxyJump(first("proxyjump")),
    knownHostsFiles: files.knownHostsFiles ?? knownHostsFiles(values, home, path),
    ...(alias === undefined ? {} : { hostKeyAlias: alias }),
    ...(agent === undefined || agent === "SSH_AUTH_SOCK" ? {} : { identityAgent: socketPath(agent, path) }),
    keepaliveIntervalMs: seconds(first("serveraliveinterval"), DEFAULT_KEEPALIVE_SECONDS) * 1000,
    keepaliveCountMax: Number(first("serveralivecountmax") ?? 3) || 3,
    connectTimeoutMs: seconds(first("connecttimeout"), DEFAULT_CONNECT_SECONDS) * 1000,
  };
}

function knownHostsFiles(
  values: Map<string, string[]>,
  home: string,
  path: (word: string) => string,
): string[] {
  const ssh = join(home, ".ssh");
  const user = values.get("userknownhostsfile") ?? [join(ssh, "known_hosts"), join(ssh, "known_hosts2")];
  const system = values.get("globalknownhostsfile") ?? [
    "/etc/ssh/ssh_known_hosts",
    "/etc/ssh/ssh_known_hosts2",
  ];
  return [...user, ...system].filter((word) => word.toLowerCase() !== "none").map(path);
}

function parseOptionPort(text: string | undefined): number {
  return text === undefined ? 22 : parsePort(text);
}

/** Zero means the default: a capture over a dead connection must end (ssh_config allows 0 for "never"). */
function seconds(text: string | undefined, fallback: number): number {
  const value = Number(text ?? fallback);
  return Number.isFinite(value) && value > 0 ? value : fallback;
}

function parseProxyJump(text: string | undefined): Target[] {
  if (text === undefined || text.toLowerCase() === "none") return [];
  return text.split(",").map((hop) => parseTarget(hop.trim().replace(/^ssh:\/\//, "")));
}

// OpenSSH: whichever of ProxyJump and ProxyCommand is set first wins; a Map keeps that order.
function refuseProxyCommand(host: string, values: Map<string, string[]>): void {
  const command = values.get("proxycommand");
  if (command === undefined || command[0]?.toLowerCase() === "none") return;
  const names = [...values.keys()];
  if (values.has("proxyjump") && names.indexOf("proxyjump") < names.indexOf("proxycommand")) return;
  throw new DoppelError(
    "ssh-proxy-command",
    `the ssh config reaches ${host} by a ProxyCommand, which is not supported`,
    {
      hint: "use ProxyJump for this host, or 'ProxyCommand none'",
      exitCode: EXIT.refused,
    },
  );
}

/** IdentityAgent may also be `none`, or the name of an environment variable with a dollar before it. */
function socketPath(word: string, path: (word: string) => string): string {
  if (word.toLowerCase() === "none") return "none";
  return word.startsWith("$") ? (process.env[word.slice(1)] ?? "none") : path(word);
}

function expandTokens(text: string, tokens: Record<string, string>): string {
  return text.replace(/%(.)/g, (whole, token: string) => (token === "%" ? "%" : (tokens[token] ?? whole)));
}

function absolutePath(word: string, home: string): string {
  if (word === "~" || word.startsWith("~/")) return join(home, word.slice(2));
  // OpenSSH takes relative names from the working directory.
  return isAbsolute(word) ? word : join(process.cwd(), word);
}
