import type { FarmContext } from "../context.ts";
import type { FarmSpec } from "../file/schema.ts";
import { looked, type Outcome } from "./outcome.ts";
import { askSite, checkSite } from "./outside.ts";

type Site = FarmSpec["sites"]["live"];
const FRONT_PAGE_MS = 10_000;

/** What can be asked at one of the site's addresses from outside. */
export interface Question {
  /** That of the check, or the path. */
  name: string;
  ask(signal: AbortSignal): Promise<Outcome>;
}

/** What the file's checks ask of the new version through the router; where it has none, the front page. */
export function questionsAt(context: FarmContext, site: Site): Question[] {
  const own = context.farm.spec.checks.flatMap((check) =>
    check.kind === "http" && check.via === "site"
      ? [{ name: check.name, ask: (signal: AbortSignal) => checkSite(context, site, check, signal) }]
      : [],
  );
  return own.length > 0 ? own : [frontPageOf(context, site)];
}

/** Whichever version is there answers, and its server does not fail (RFC 9110, 15.6). */
export function frontPageOf(context: FarmContext, site: Site): Question {
  const ask = (signal: AbortSignal) =>
    looked(FRONT_PAGE_MS, signal, async (limit) => {
      const { status } = await askSite(context, site, "/", {}, limit);
      return { passed: status < 500, message: `status ${status}` };
    });
  return { name: "/", ask };
}

/** Asks one question after the other; returns the first that was not answered as it should be, and why. */
export async function firstFailure(
  questions: readonly Question[],
  signal: AbortSignal,
): Promise<string | undefined> {
  for (const { name, ask } of questions) {
    const { passed, message } = await ask(signal);
    if (!passed) return `${name}: ${message}`;
  }
  return undefined;
}
