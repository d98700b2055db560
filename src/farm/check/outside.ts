import { readFile } from "node:fs/promises";
import { rootCertificates, connect as tlsConnect } from "node:tls";
import type { FarmContext } from "../context.ts";
import type { FarmCheck } from "../file/checks.ts";
import type { FarmSpec } from "../file/schema.ts";
import { fromOutside } from "./dial.ts";
import { ask, type HttpAnswer, judgeAnswer } from "./http.ts";
import { looked, type Outcome } from "./outcome.ts";

type Site = FarmSpec["sites"]["live"];
const DAY_MS = 86_400_000;
/** A router spreads requests as it likes: so many for each shadow before one counts as not reached. */
const TRIES_A_SHADOW = 20;

/** Asks a site as its users would, through the router. */
export async function askSite(
  context: FarmContext,
  site: Site,
  path: string,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const ca =
    site.ca === undefined
      ? undefined
      : [await readFile(context.farm.resolve(site.ca), "utf8"), ...rootCertificates];
  const url = new URL(path, site.url);
  return await ask(fromOutside, { url, connect: whereTo(site), headers, ...(ca ? { ca } : {}) }, signal);
}

/** A check of the file at one of the site's two addresses. */
export async function checkSite(
  context: FarmContext,
  site: Site,
  check: Extract<FarmCheck, { kind: "http" }>,
  signal: AbortSignal,
): Promise<Outcome> {
  const { path, status, contains, headers = {}, timeout } = check;
  return await looked(timeout, signal, async (limit) => {
    const answer = await askSite(context, site, path, headers, limit);
    return judgeAnswer(answer, { status, ...(contains === undefined ? {} : { contains }) });
  });
}

/**
 * Asks the router's shadow address until every shadow has answered, each by the name of its box in the header that the
 * file says. Returns what was seen of each.
 */
export async function reachShadows(
  context: FarmContext,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Map<string, Outcome>> {
  const { sites, boxes } = context.farm.spec;
  const header = sites.shadow.identify?.header.toLowerCase();
  const seen = new Map<string, Outcome>();
  const deadline = performance.now() + timeoutMs;
  const failures = new Set<string>();
  for (let tries = 0; tries < TRIES_A_SHADOW * boxes.length && seen.size < boxes.length; tries++) {
    const left = deadline - performance.now();
    if (left <= 0) break;
    let box: string | undefined;
    const outcome = await looked(left, signal, async (limit) => {
      const answer = await askSite(context, sites.shadow, "/", {}, limit);
      box = header === undefined ? onlyBox(boxes) : answer.headers[header]?.toString();
      const passed = answer.status < 500;
      return { passed, message: `status ${answer.status} through ${sites.shadow.url}` };
    });
    if (outcome.passed && box !== undefined && boxes.some(({ name }) => name === box)) seen.set(box, outcome);
    else failures.add(outcome.passed ? unnamed(header, box) : outcome.message);
  }
  const why = [...failures].slice(0, 3).join("; ") || "only others answered";
  return new Map(
    boxes.map(({ name }) => [
      name,
      seen.get(name) ?? { passed: false, message: `not reached: ${why}`, latencyMs: null },
    ]),
  );
}

export async function checkCertificate(
  context: FarmContext,
  check: Extract<FarmCheck, { kind: "tls" }>,
  signal: AbortSignal,
): Promise<Outcome> {
  const { shadow } = context.farm.spec.sites;
  const site = whereTo(shadow);
  return await looked(check.timeout, signal, async (limit) => {
    const plain = await fromOutside(
      check.host ?? site.host,
      check.port ?? (check.host ? 443 : site.port),
      limit,
    );
    const file = check.ca ?? shadow.ca;
    const ca =
      file === undefined
        ? {}
        : { ca: [await readFile(context.farm.resolve(file), "utf8"), ...rootCertificates] };
    try {
      const servername = check.host ?? new URL(shadow.url).hostname;
      const until = await new Promise<string>((resolve, reject) => {
        const secured = tlsConnect({ socket: plain, servername, ...ca }, () =>
          resolve(secured.getPeerCertificate().valid_to),
        ).on("error", reject);
      });
      const days = Math.floor((Date.parse(until) - Date.now()) / DAY_MS);
      return { passed: days >= check.days, message: `valid for ${days} days, until ${until}` };
    } finally {
      plain.destroy();
    }
  });
}

function whereTo({ url, connect }: Site): { host: string; port: number } {
  const { hostname, port, protocol } = new URL(url);
  const named = /^(.+):(\d+)$/.exec(connect ?? "");
  const host = (named?.[1] ?? hostname).replace(/^\[(.*)\]$/, "$1");
  return { host, port: Number(named?.[2] ?? (port || (protocol === "https:" ? 443 : 80))) };
}

/** Of one shadow alone, whatever answers is it. */
function onlyBox(boxes: FarmSpec["boxes"]): string | undefined {
  return boxes.length === 1 ? boxes[0]?.name : undefined;
}

function unnamed(header: string | undefined, box: string | undefined): string {
  if (header === undefined) return "the file does not say how a shadow names itself (sites.shadow.identify)";
  return box === undefined ? `an answer without the header ${header}` : `an answer of '${box}'`;
}
