import { type Interval, weightedMean } from "./interval.ts";

/** How a side did over some time. */
export interface Rates {
  requests: number;
  /** Share of the requests, 0 to 1. */
  errorRate: number;
  clientErrorRate: number;
  responseMs?: number;
}

/** When the new side counts as worse than the baseline. */
export interface Limits {
  /** Time that the rates are taken over, from now backwards; as much more as it takes for `minimumRequests`. */
  overMs: number;
  /** Requests that rates need to say anything. */
  minimumRequests: number;
  /** Share of failed requests, 0 to 1, on top of the baseline's. */
  errorRateAbove: number;
  /** The same for responses of status 400 to 499. */
  clientErrorRateAbove: number;
  /** The mean response time may be the baseline's times this, */
  latencyFactor: number;
  /** and this much more. */
  latencyAboveMs: number;
  /** So many errors, and more than half of the requests, need no minimum of requests. */
  certainErrors: number;
  /** A router may be silent for so long. */
  goneMs: number;
}

export const DEFAULT_LIMITS: Limits = {
  overMs: 5000,
  minimumRequests: 20,
  errorRateAbove: 0.02,
  clientErrorRateAbove: 0.2,
  latencyFactor: 2,
  latencyAboveMs: 200,
  certainErrors: 5,
  goneMs: 5000,
};

export interface Verdict {
  /**
   * healthy: as good as the baseline. undecided: too few requests to tell. failing: worse. gone: a router does not answer.
   * astray: a router does not do what it should, as after a reload in the middle of a switch.
   */
  is: "healthy" | "undecided" | "failing" | "gone" | "astray";
  /** One sentence with the values. */
  because: string;
}

/** Adds intervals up. */
export function ratesOf(intervals: readonly Interval[]): Rates {
  const sum = (what: "requests" | "errors" | "clientErrors") =>
    intervals.reduce((total, interval) => total + interval[what], 0);
  const requests = sum("requests");
  const share = (count: number) => (requests === 0 ? 0 : Math.min(1, count / requests));
  const means = intervals.flatMap(({ responseMs, requests: weight }): [number, number][] =>
    responseMs === undefined ? [] : [[responseMs, weight]],
  );
  return {
    requests,
    errorRate: share(sum("errors")),
    clientErrorRate: share(sum("clientErrors")),
    ...(means.length > 0 ? { responseMs: weightedMean(means) } : {}),
  };
}

/** Judges the newest intervals against a baseline. */
export function judge(baseline: Rates, intervals: readonly Interval[], limits: Limits): Verdict {
  const last = intervals.at(-1);
  if (last === undefined) return { is: "undecided", because: "nothing has been measured yet" };
  const recent = newest(intervals, limits);
  const now = ratesOf(recent);
  const errors = recent.reduce((total, interval) => total + interval.errors, 0);
  const enough = now.requests >= limits.minimumRequests;
  const failing = (because: string): Verdict => ({ is: "failing", because });

  const allowed = baseline.errorRate + limits.errorRateAbove;
  const certain = errors >= limits.certainErrors && now.errorRate > 0.5;
  if ((enough || certain) && now.errorRate > allowed) {
    return failing(tooMany(now.errorRate, `${now.requests} requests failed`, allowed));
  }
  const allowed4xx = baseline.clientErrorRate + limits.clientErrorRateAbove;
  if (enough && now.clientErrorRate > allowed4xx) {
    return failing(tooMany(now.clientErrorRate, `${now.requests} responses are of status 4xx`, allowed4xx));
  }
  const slow = slowness(baseline, now, limits);
  if (enough && slow !== undefined) return failing(slow);
  return stateOfRouters(intervals, last, limits) ?? forRequests(now, enough);
}

/** Those of the last `overMs`, and earlier ones until there are enough requests: a slow version answers few. */
function newest(intervals: readonly Interval[], { overMs, minimumRequests }: Limits): Interval[] {
  const endMs = intervals.at(-1)?.toMs ?? 0;
  let requests = 0;
  const start = intervals.findLastIndex((interval, at) => {
    requests += interval.requests;
    return requests >= minimumRequests && (intervals[at - 1]?.toMs ?? 0) <= endMs - overMs;
  });
  return intervals.slice(Math.max(0, start));
}

function slowness(baseline: Rates, now: Rates, limits: Limits): string | undefined {
  if (baseline.responseMs === undefined || now.responseMs === undefined) return undefined;
  const allowed = baseline.responseMs * limits.latencyFactor + limits.latencyAboveMs;
  if (now.responseMs <= allowed) return undefined;
  return `responses take ${now.responseMs.toFixed(0)} ms on average, ${allowed.toFixed(0)} ms are allowed`;
}

function stateOfRouters(intervals: readonly Interval[], last: Interval, limits: Limits): Verdict | undefined {
  if (last.astray.length > 0) return { is: "astray", because: last.astray.join("; ") };
  const lastWhole = intervals.findLast(({ gone }) => gone.length === 0)?.toMs ?? intervals[0]?.fromMs ?? 0;
  const silentMs = last.toMs - lastWhole;
  if (last.gone.length === 0 || silentMs < limits.goneMs) return undefined;
  return { is: "gone", because: `${last.gone.join(", ")}: no answer for ${(silentMs / 1000).toFixed(1)} s` };
}

function forRequests(now: Rates, enough: boolean): Verdict {
  if (!enough) return { is: "undecided", because: `only ${now.requests} requests` };
  return { is: "healthy", because: describeRates(now) };
}

/** `0.5 % of 1204 requests failed, 12 ms on average`. */
export function describeRates({ errorRate, requests, responseMs }: Rates): string {
  const time = responseMs === undefined ? "" : `, ${responseMs.toFixed(0)} ms on average`;
  return `${percent(errorRate)} of ${requests} requests failed${time}`;
}

/** With as many digits as tell the two shares apart. */
function tooMany(share: number, ofWhat: string, allowed: number): string {
  const digits = [1, 2, 3].find((count) => percent(share, count) !== percent(allowed, count));
  return `${percent(share, digits)} of ${ofWhat}, ${percent(allowed, digits)} are allowed`;
}

function percent(share: number, digits = 1): string {
  return `${(share * 100).toFixed(digits)} %`;
}
