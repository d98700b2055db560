import { DoppelError } from "../../../errors.ts";
import type { FarmContext } from "../../context.ts";
import { type Json, json } from "../../journal/entry.ts";
import { SiteWatch } from "../../routers/index.ts";
import { describeRates } from "../../routers/watch/verdict.ts";
import { baselineWindowMs, intervalFor } from "../watch.ts";

/** Users of the live site while its database is changed beside them. */
export class WatchedSite {
  readonly #watch: SiteWatch;
  readonly #tell: (line: string) => void;

  private constructor(watch: SiteWatch, tell: (line: string) => void) {
    this.#watch = watch;
    this.#tell = tell;
  }

  /** Looks first at how users are without the change. Undefined where the farm file says not to watch. */
  static async start(
    { farm, routers, tell }: FarmContext,
    name: string,
    signal: AbortSignal,
  ): Promise<WatchedSite | undefined> {
    const { watch: windowMs, errors, latency } = farm.spec.switch;
    if (windowMs === 0) return undefined;
    const watch = await SiteWatch.start(await routers.open(), {
      windowMs: baselineWindowMs(windowMs),
      intervalMs: intervalFor(windowMs),
      limits: { errorRateAbove: errors, latencyFactor: latency },
      signal,
    });
    const say = (line: string) => tell(`${name}: ${line}`);
    say(`users are watched meanwhile; before: ${describeRates(watch.before)}`);
    return new WatchedSite(watch, say);
  }

  /** Goes on while users are as well as before; else `site-suffers`, with what is done and stays. */
  async expectWell(before: string, signal: AbortSignal): Promise<void> {
    const { is, because } = await this.#watch.look(signal);
    if (is !== "failing" && is !== "gone") return;
    throw new DoppelError("site-suffers", `users suffer, so it was stopped ${before}: ${because}`, {
      hint: "what was added stays and does no harm; look at the site, then 'doppel farm resume' goes on with the rest",
      details: { site: this.#rates() },
    });
  }

  /** What was seen, for the journal. */
  summary(): Json {
    this.#tell(`users meanwhile: ${describeRates(this.#watch.meanwhile)}`);
    return this.#rates();
  }

  #rates(): Json {
    return json.parse({ before: this.#watch.before, meanwhile: this.#watch.meanwhile });
  }
}
