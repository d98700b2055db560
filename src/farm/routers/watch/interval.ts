import type { RouterStatistics, SideCounters } from "../router.ts";
import { describeRouting, type Routing, type Side, sameRouting } from "../routing.ts";

/** What one look at all routers found. */
export interface Sample {
  /** Of a monotonic clock. */
  atMs: number;
  routers: RouterStatistics[];
  /** Those that could not be asked. */
  gone: { router: string; why: string }[];
}

/** What happened on one side between two samples, over all routers. Plain data: the watch's evidence. */
export interface Interval {
  fromMs: number;
  toMs: number;
  requests: number;
  errors: number;
  clientErrors: number;
  /** Mean over the routers, weighted by their requests. */
  responseMs?: number;
  inFlight?: number;
  gone: string[];
  /** Routers that do not do what they should. */
  astray: string[];
}

/**
 * The interval between two samples. A router whose generation changed began at zero: what it has counted is what
 * happened. One that is in only one of the samples counts for nothing.
 */
export function between(before: Sample, after: Sample, side: Side, wanted: Routing): Interval {
  const interval: Interval = {
    fromMs: before.atMs,
    toMs: after.atMs,
    requests: 0,
    errors: 0,
    clientErrors: 0,
    gone: after.gone.map(({ router }) => router),
    astray: [],
  };
  const means: [number, number][] = [];
  for (const now of after.routers) {
    if (!sameRouting(now.routing, wanted)) {
      interval.astray.push(`${now.router}: ${describeRouting(now.routing)}`);
    }
    const earlier = before.routers.find(({ router }) => router === now.router);
    if (earlier === undefined) continue;
    const base = earlier.generation === now.generation ? earlier.sides[side] : ZERO;
    const requests = grown(base, now.sides[side], "requests");
    interval.requests += requests;
    interval.errors += grown(base, now.sides[side], "errors");
    interval.clientErrors += grown(base, now.sides[side], "clientErrors");
    const { responseMs, inFlight } = now.sides[side];
    if (responseMs !== undefined && requests > 0) means.push([responseMs, requests]);
    if (inFlight !== undefined) interval.inFlight = (interval.inFlight ?? 0) + inFlight;
  }
  if (means.length > 0) interval.responseMs = weightedMean(means);
  return interval;
}

const ZERO: SideCounters = { requests: 0, errors: 0, clientErrors: 0 };

/** Counters only grow; one that shrank within a generation was cleared by hand. */
function grown(from: SideCounters, to: SideCounters, what: "requests" | "errors" | "clientErrors"): number {
  return to[what] >= from[what] ? to[what] - from[what] : to[what];
}

export function weightedMean(pairs: readonly [mean: number, weight: number][]): number {
  const weight = pairs.reduce((sum, [, one]) => sum + one, 0);
  return pairs.reduce((sum, [mean, one]) => sum + mean * one, 0) / weight;
}
