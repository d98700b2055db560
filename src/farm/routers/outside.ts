import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { DoppelError } from "../../errors.ts";

/** Where the version stands in a response: a header, or the first group of a pattern in the body. */
export type VersionRule = { header: string } | { body: string };

export interface OutsideProbe {
  /** With the site's own host name: `https://www.example.org/health`. */
  url: string;
  /** Where the router is, when that is not what the name resolves to: HOST:PORT. */
  address?: string;
  version: VersionRule;
  cookie?: string;
  /** Default: 5000. */
  timeoutMs?: number;
  /** Certificates of the authority, PEM, where it is not a public one. */
  authority?: string;
  signal?: AbortSignal;
}

export interface OutsideAnswer {
  status: number;
  /** Missing when the rule found none. */
  version?: string;
  milliseconds: number;
}

const MOST_BODY_BYTES = 1024 * 1024;

/** Asks a site as a user would, over a connection of its own. Throws `outside-unreachable`. */
export async function askFromOutside(probe: OutsideProbe): Promise<OutsideAnswer> {
  const startMs = performance.now();
  const { status, headers, body } = await fetchOnce(probe);
  const version = versionOf(probe.version, headers, body);
  return {
    status,
    milliseconds: performance.now() - startMs,
    ...(version === undefined ? {} : { version }),
  };
}

function versionOf(
  rule: VersionRule,
  headers: Record<string, string | string[] | undefined>,
  body: string,
): string | undefined {
  if ("header" in rule) return headers[rule.header.toLowerCase()]?.toString();
  return new RegExp(rule.body).exec(body)?.[1];
}

interface Fetched {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

async function fetchOnce({
  url,
  address,
  cookie,
  timeoutMs = 5000,
  authority,
  signal,
}: OutsideProbe): Promise<Fetched> {
  const { protocol, hostname, host, pathname, search, port } = new URL(url);
  const secure = protocol === "https:";
  const [, atHost, atPort] = /^(.*):(\d+)$/.exec(address ?? "") ?? [];
  const limit = AbortSignal.timeout(timeoutMs);
  const options = {
    host: atHost?.replace(/^\[(.*)\]$/, "$1") ?? hostname,
    port: atPort ?? (port || (secure ? 443 : 80)),
    path: pathname + search,
    headers: { host, ...(cookie === undefined ? {} : { cookie }) },
    agent: false as const,
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  };
  try {
    return await new Promise<Fetched>((resolve, reject) => {
      const sent = secure
        ? requestHttps({ ...options, servername: hostname, ...(authority ? { ca: authority } : {}) })
        : requestHttp(options);
      sent.once("error", reject).once("response", (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          if (body.length < MOST_BODY_BYTES) body += chunk;
        });
        response.once("error", reject);
        response.once("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
      });
      sent.end();
    });
  } catch (cause) {
    signal?.throwIfAborted();
    const why = limit.aborted ? `no answer within ${timeoutMs / 1000} s` : String((cause as Error).message);
    throw new DoppelError("outside-unreachable", `${url} cannot be reached from here: ${why}`, {
      hint: "check the router's address, its frontend, and the firewalls in between",
      cause,
    });
  }
}
