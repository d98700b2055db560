import { setTimeout as sleep } from "node:timers/promises";
import type { Router } from "../router.ts";
import { BEFORE_SWITCH, type Routing, type Side } from "../routing.ts";
import { between, type Interval, type Sample } from "./interval.ts";
import { DEFAULT_LIMITS, judge, type Limits, type Rates, ratesOf, type Verdict } from "./verdict.ts";
import { measureRates, sample } from "./watch.ts";

export interface SiteWatchOptions {
  /** How long the site is looked at before, for what it is compared with. */
  windowMs: number;
  intervalMs: number;
  limits?: Partial<Limits>;
  signal?: AbortSignal;
}

/**
 * How users are served while something is done beside them that may disturb them, by the routers' statistics of the side that
 * users have. Whoever does it asks between its parts.
 */
export class SiteWatch {
  readonly before: Rates;
  readonly #routers: readonly Router[];
  readonly #intervalMs: number;
  readonly #limits: Limits;
  readonly #side: Side;
  readonly #routing: Routing;
  readonly #intervals: Interval[] = [];
  #last: Sample;

  private constructor(
    routers: readonly Router[],
    { intervalMs, limits }: SiteWatchOptions,
    { side, routing, before, last }: { side: Side; routing: Routing; before: Rates; last: Sample },
  ) {
    this.#routers = routers;
    this.#intervalMs = intervalMs;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#side = side;
    this.#routing = routing;
    this.before = before;
    this.#last = last;
  }

  /** Looks at the site for `windowMs` as it is without what is to be done. */
  static async start(routers: readonly Router[], options: SiteWatchOptions): Promise<SiteWatch> {
    const { signal } = options;
    const first = await sample(routers, undefined, signal);
    const routing = first.routers[0]?.routing ?? BEFORE_SWITCH;
    const side = routing.live === "new" ? "new" : "old";
    const before = await measureRates(routers, side, routing, options);
    return new SiteWatch(routers, options, {
      ...{ side, routing, before },
      last: await sample(routers, undefined, signal),
    });
  }

  /** What users got since the watch began. */
  get meanwhile(): Rates {
    return ratesOf(this.#intervals);
  }

  /** How users are now; waits until something can have been seen since it was asked last. */
  async look(signal?: AbortSignal): Promise<Verdict> {
    const waitMs = this.#last.atMs + this.#intervalMs - performance.now();
    if (waitMs > 0) await sleep(waitMs, undefined, signal ? { signal } : {});
    const now = await sample(this.#routers, this.#last, signal);
    this.#intervals.push(between(this.#last, now, this.#side, this.#routing));
    this.#last = now;
    return judge(this.before, this.#intervals, this.#limits);
  }
}
