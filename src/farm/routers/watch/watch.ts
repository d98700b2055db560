import { setTimeout as sleep } from "node:timers/promises";
import { problemOf } from "../failure.ts";
import type { Router, RouterStatistics } from "../router.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, type Routing, type Side, sameRouting } from "../routing.ts";
import { between, type Interval, type Sample } from "./interval.ts";
import { DEFAULT_LIMITS, judge, type Limits, type Rates, ratesOf, type Verdict } from "./verdict.ts";

export interface BaselineOptions {
  windowMs: number;
  /** Default: 500. */
  intervalMs?: number;
  signal?: AbortSignal;
}

export interface WatchOptions extends BaselineOptions {
  baseline: Rates;
  /** What the routers should do meanwhile; default: as after the switch. A canary is watched with its own routing. */
  wanted?: Routing;
  limits?: Partial<Limits>;
  /** Switches back; called once, as soon as the new side is failing. */
  undo: (verdict: Verdict) => Promise<void>;
  /** Makes the routers do what they should; called when one lost its runtime state. */
  mend: (verdict: Verdict) => Promise<void>;
  onInterval?: (interval: Interval, verdict: Verdict) => void;
}

export interface WatchResult {
  /** The last verdict: the end of the window, or why it ended early. */
  verdict: Verdict;
  undone: boolean;
  /** Times that a router was astray. */
  mended: number;
  watchedMs: number;
  /** Requests and errors of the new side while it was watched. */
  requests: number;
  errors: number;
  /** At most the last 1,000 intervals. */
  evidence: Interval[];
}

const INTERVAL_MS = 500;
const MOST_EVIDENCE = 1000;

/** How the old side does while users have it: what the new one is compared with. */
export async function measureBaseline(routers: readonly Router[], options: BaselineOptions): Promise<Rates> {
  return await measureRates(routers, "old", BEFORE_SWITCH, options);
}

/** How a side does for a while, under the routing that is there. */
export async function measureRates(
  routers: readonly Router[],
  side: Side,
  routing: Routing,
  { windowMs, intervalMs = INTERVAL_MS, signal }: BaselineOptions,
): Promise<Rates> {
  const intervals: Interval[] = [];
  for await (const interval of intervalsOf(routers, side, routing, windowMs, intervalMs, signal)) {
    intervals.push(interval);
  }
  return ratesOf(intervals);
}

/**
 * Watches the new side for `windowMs` from now on and switches back as soon as it is failing. A router that went astray
 * is mended when it only lost its runtime state; when its persisted state is another one too, somebody changed it on
 * purpose, and the watch ends. One that is gone is not acted upon: the verdict says so at the end.
 */
export async function watchSwitch(routers: readonly Router[], options: WatchOptions): Promise<WatchResult> {
  const { baseline, windowMs, intervalMs = INTERVAL_MS, signal, wanted = AFTER_SWITCH } = options;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const startMs = performance.now();
  const result: WatchResult = {
    verdict: { is: "undecided", because: "nothing has been measured yet" },
    undone: false,
    mended: 0,
    watchedMs: 0,
    requests: 0,
    errors: 0,
    evidence: [],
  };
  for await (const interval of intervalsOf(routers, "new", wanted, windowMs, intervalMs, signal)) {
    result.evidence = [...result.evidence.slice(1 - MOST_EVIDENCE), interval];
    result.requests += interval.requests;
    result.errors += interval.errors;
    result.verdict = judge(baseline, result.evidence, limits);
    options.onInterval?.(interval, result.verdict);
    if (result.verdict.is === "astray") {
      if (!(await wouldComeBack(routers, wanted))) break;
      result.mended++;
      await options.mend(result.verdict);
    }
    if (result.verdict.is === "failing") {
      await options.undo(result.verdict);
      result.undone = true;
      break;
    }
  }
  result.watchedMs = performance.now() - startMs;
  return result;
}

async function wouldComeBack(routers: readonly Router[], wanted: Routing): Promise<boolean> {
  const states = await Promise.all(routers.map((router) => router.probe()));
  return states.every(({ persisted }) => sameRouting(persisted, wanted));
}

async function* intervalsOf(
  routers: readonly Router[],
  side: Side,
  wanted: Routing,
  windowMs: number,
  intervalMs: number,
  signal?: AbortSignal,
): AsyncGenerator<Interval> {
  let before = await sample(routers, undefined, signal);
  const end = before.atMs + windowMs;
  while (performance.now() < end) {
    await sleep(intervalMs, undefined, signal ? { signal } : {});
    const after = await sample(routers, before, signal);
    yield between(before, after, side, wanted);
    before = after;
  }
}

/** Asks all routers for their statistics. One that is gone keeps its last counters, so that what it counts until it is back is not lost. */
export async function sample(
  routers: readonly Router[],
  before: Sample | undefined,
  signal?: AbortSignal,
): Promise<Sample> {
  const gone: Sample["gone"] = [];
  const answers = await Promise.all(
    routers.map(async (router): Promise<RouterStatistics | undefined> => {
      try {
        return await router.statistics(signal);
      } catch (error) {
        signal?.throwIfAborted();
        gone.push({ router: router.name, why: problemOf(error).message });
        return before?.routers.find((one) => one.router === router.name);
      }
    }),
  );
  return { atMs: performance.now(), routers: answers.filter((one) => one !== undefined), gone };
}
