import { readdir, readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { Agent } from "undici";
import { DoppelError } from "../errors.ts";

/** Where containers' tools look for a registry's certificates: FOLDER/HOST[:PORT]/{*.crt, NAME.cert with NAME.key}. */
function certificateFolders(): string[] {
  return [join(homedir(), ".config/containers/certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"];
}

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/;

/** Time limits in milliseconds: to connect, for the head of an answer, and between two pieces of its body. */
const LIMITS_MS = { connect: 15_000, head: 120_000, body: 60_000 };

export interface Tls {
  ca: string[];
  cert?: string;
  key?: string;
}

/** True for a registry on this machine, the only one that plain HTTP is tried with unasked. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:\d+$/, "");
  return LOOPBACK.test(name) || (isIP(name) === 6 && name === "::1");
}

/** The connections to registries, with the certificate authorities and client certificate that are set up for `host`. */
export async function connectionsTo(host: string): Promise<Agent> {
  const { ca, cert, key } = await readTls(host);
  return new Agent({
    connect: {
      timeout: LIMITS_MS.connect,
      ...(ca.length > 0 ? { ca: [...rootCertificates, ...ca] } : {}),
      ...(cert === undefined ? {} : { cert, key }),
    },
    headersTimeout: LIMITS_MS.head,
    bodyTimeout: LIMITS_MS.body,
    connections: 16,
  });
}

async function readTls(host: string): Promise<Tls> {
  const tls: Tls = { ca: [] };
  for (const folder of certificateFolders()) {
    const own = join(folder, host);
    for (const name of (await readdir(own).catch(() => [])).sort()) {
      const path = join(own, name);
      if (name.endsWith(".crt")) tls.ca.push(await readFile(path, "utf8"));
      if (!name.endsWith(".cert") || tls.cert !== undefined) continue;
      tls.cert = await readFile(path, "utf8");
      tls.key = await readKey(path.replace(/\.cert$/, ".key"), path);
    }
  }
  return tls;
}

async function readKey(path: string, certificate: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new DoppelError("registry-certificate", `the key of ${certificate} cannot be read`, {
      hint: `it belongs into ${path}`,
      cause: error,
    });
  }
}
