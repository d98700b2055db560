import { z } from "zod";
import { DoppelError } from "../../errors.ts";
import type { FarmContext } from "../context.ts";
import type { Step } from "../engine/step.ts";
import { type Json, json } from "../journal/entry.ts";
import { inFlightText } from "../routers/drain.ts";
import { AFTER_SWITCH, measureBaseline, watchSwitch } from "../routers/index.ts";
import type { Rates } from "../routers/watch/verdict.ts";
import { afterSwitchStep } from "./after-switch.ts";
import { firstUsers, hasOldVersion, leadBack } from "./routing.ts";

const BASELINE_STEP = "switch/baseline";
/** The baseline is measured while users wait for nothing; so long at most, and no longer than a part of the watch. */
const MOST_BASELINE_MS = 10_000;
const BASELINE_SHARE = 0.2;
const INTERVAL_SHARE = 0.1;
const MOST_INTERVAL_MS = 500;

const NOTHING_KNOWN: Rates = { requests: 0, errorRate: 0, clientErrorRate: 0 };

const rates = z.object({
  requests: z.number(),
  errorRate: z.number(),
  clientErrorRate: z.number(),
  responseMs: z.number().optional(),
});

/** What the new version is compared with: how the old one did, measured just before the switch. */
export class Baseline {
  readonly step: Step;
  #measured: Rates | undefined;

  constructor(context: FarmContext) {
    const windowMs = baselineWindowMs(context.farm.spec.switch.watch);
    this.step = {
      id: BASELINE_STEP,
      title: "measure how the old version does",
      inputs: { windowMs },
      undoes: "nothing: it only looks",
      probe: async (signal) => {
        if (!this.#measured && !(await hasOldVersion(context, signal))) this.#measured = recorded(context);
        return this.#measured ? { state: "done", result: asJson(this.#measured) } : { state: "absent" };
      },
      run: async (signal) => {
        const options = { windowMs, intervalMs: intervalFor(windowMs), signal };
        this.#measured = await measureBaseline(await context.routers.open(), options);
        return asJson(this.#measured);
      },
    };
  }

  get rates(): Rates {
    return this.#measured ?? NOTHING_KNOWN;
  }
}

/**
 * Watches the new version by the routers' own statistics for `watchMs`, and leads users back by itself when it fails: `switched-back`.
 * `canary`: the share of users who have it meanwhile, 0 to 1.
 */
export function watchStep(context: FarmContext, baseline: Baseline, canary?: number): Step {
  const { watch: windowMs, errors, latency } = context.farm.spec.switch;
  const wanted = canary === undefined ? AFTER_SWITCH : firstUsers(canary);
  const whom = canary === undefined ? "" : " with the first users";
  const id = canary === undefined ? "switch/watch" : "switch/canary-watch";
  return afterSwitchStep(context, id, {
    title: `watch the new version${whom} for ${windowMs / 1000} s`,
    inputs: { windowMs, errors, latency },
    look: async (signal) => {
      const routers = await context.routers.open();
      const {
        verdict,
        undone,
        mended,
        requests,
        errors: failed,
        watchedMs,
      } = await watchSwitch(routers, {
        baseline: baseline.rates,
        windowMs,
        intervalMs: intervalFor(windowMs),
        wanted,
        limits: { errorRateAbove: errors, latencyFactor: latency },
        signal,
        undo: () => leadBack(routers),
        mend: async () => {
          await Promise.all(routers.map((router) => router.reconcile(wanted, MOST_BASELINE_MS)));
        },
      });
      if (undone) throw switchedBack(verdict.because, watchedMs, failed);
      return { verdict: verdict.is, because: verdict.because, requests, failed, mended };
    },
  });
}

/** Waits for what still runs on the old side; nothing is cut, and what remains in the end is told. */
export function drainStep(context: FarmContext): Step {
  const timeoutMs = context.farm.spec.switch.drain;
  return afterSwitchStep(context, "switch/drain", {
    title: "wait until the old version's open requests have ended",
    inputs: { timeoutMs },
    look: async (signal) => {
      const { drained, remaining, waitedMs, unknown } = await context.routers.drainOld(timeoutMs, signal);
      for (const { router, inFlight } of remaining)
        if (inFlight > 0)
          context.tell(`${router} still has ${inFlightText(inFlight)} on the old version: they end there`);
      for (const router of unknown)
        context.tell(`${router} does not tell what it has on the old version: that ends there`);
      return { drained, remaining: asJson(remaining), unknown, waitedMs: Math.round(waitedMs) };
    },
  });
}

/** What was measured before the switch that a killed command had made. */
function recorded({ journal }: FarmContext): Rates {
  const found = journal
    .entries()
    .findLast(({ event }) => event.kind === "step-done" && event.step === BASELINE_STEP);
  const parsed = rates.safeParse(found?.event.kind === "step-done" ? found.event.result : undefined);
  if (!parsed.success) return NOTHING_KNOWN;
  const { responseMs, ...known } = parsed.data;
  return { ...known, ...(responseMs === undefined ? {} : { responseMs }) };
}

/** How long the site is looked at as it is, for a watch of so many milliseconds. */
export function baselineWindowMs(watchMs: number): number {
  return Math.min(MOST_BASELINE_MS, watchMs * BASELINE_SHARE);
}

/** How long a look takes in a watch of so many milliseconds. */
export function intervalFor(windowMs: number): number {
  return Math.max(50, Math.min(MOST_INTERVAL_MS, windowMs * INTERVAL_SHARE));
}

function asJson(value: unknown): Json {
  return json.parse(value);
}

function switchedBack(because: string, watchedMs: number, failed: number): DoppelError {
  return new DoppelError(
    "switched-back",
    `the new version failed after ${(watchedMs / 1000).toFixed(1)} s, users have the old one again: ${because}; ${failed} requests failed`,
    {
      hint: "'doppel farm status FARM.yaml' has the evidence; mend the new version, check, and switch again",
    },
  );
}
