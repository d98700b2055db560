import { setTimeout as sleep } from "node:timers/promises";
import { DoppelError, EXIT, messageOf } from "../../errors.ts";
import { firstFailure, frontPageOf, type Question, questionsAt } from "../check/questions.ts";
import type { FarmContext } from "../context.ts";
import type { Reality, Step } from "../engine/step.ts";
import type { Json } from "../journal/entry.ts";
import { BEFORE_SWITCH, changeRouting, REHEARSAL } from "../routers/index.ts";
import { describeState } from "../routers/router.ts";
import { leadsBack, sameRouting } from "../routers/routing.ts";
import { afterSwitchStep } from "./after-switch.ts";
import { hasOldVersion, leadBack } from "./routing.ts";
import { baselineWindowMs } from "./watch.ts";

/** Between two questions: the new version is to be warmed, not loaded. */
const REST_MS = 20;
/** One answer that does not come is nobody's fault; users are not led back for it. */
const MOST_TRIES = 3;
const RETRY_MS = 200;
const ELSEWHERE: Reality = { state: "done", result: "users have it already" };

/**
 * Makes the changes of a way back with the shadow address, which no user has: it leads to the old version for a moment, is
 * asked, and leads to the new one again. A router without the ability is left as it is. Throws `way-back-fails`.
 */
export function rehearsalStep(context: FarmContext): Step {
  const { live, shadow } = context.farm.spec.sites;
  let rehearsed: Json | undefined;
  return {
    id: "switch/rehearsal",
    title: "rehearse the way back with the shadow address",
    inputs: { routing: { ...REHEARSAL } },
    undoes: "nothing: it ends as it began",
    probe: async (signal) => {
      if (rehearsed !== undefined) return { state: "done", result: rehearsed };
      const states = await context.routers.probe(signal);
      if (states.some(({ runtime }) => runtime && !leadsBack(runtime))) return ELSEWHERE;
      if (states.every(({ runtime }) => sameRouting(runtime, BEFORE_SWITCH))) return { state: "absent" };
      return { state: "partial", why: states.map(describeState).join(", ") };
    },
    run: async (signal) => {
      const routers = (await context.routers.open()).filter(({ abilities }) => abilities.has("rehearsal"));
      const start = performance.now();
      await mustAnswer([frontPageOf(context, live)], wayBackFails, signal);
      try {
        await changeRouting(routers, { from: BEFORE_SWITCH, to: REHEARSAL, signal }).catch(
          (error: unknown) => {
            signal.throwIfAborted();
            throw wayBackFails(messageOf(error), error);
          },
        );
        await mustAnswer([frontPageOf(context, shadow)], wayBackFails, signal);
      } finally {
        await changeRouting(routers, { from: REHEARSAL, to: BEFORE_SWITCH });
      }
      await mustAnswer(questionsAt(context, shadow), newVersionFails, signal);
      rehearsed = {
        routers: routers.map(({ name }) => name),
        milliseconds: Math.round(performance.now() - start),
      };
      return rehearsed;
    },
  };
}

/**
 * Asks the new version what the checks ask, as long as the baseline is measured, each question once at least: connections are open,
 * code is compiled and caches are filled when the first user comes. Throws `new-version-fails` at the first wrong answer.
 */
export function warmStep(context: FarmContext): Step {
  const windowMs = baselineWindowMs(context.farm.spec.switch.watch);
  let asked: number | undefined;
  return {
    id: "switch/warm",
    title: "warm up the new version",
    inputs: { windowMs },
    undoes: "nothing: it only asks",
    probe: async (signal) => {
      if (asked !== undefined) return { state: "done", result: { asked } };
      return (await hasOldVersion(context, signal)) ? { state: "absent" } : ELSEWHERE;
    },
    run: async (signal) => {
      const questions = questionsAt(context, context.farm.spec.sites.shadow);
      const end = performance.now() + windowMs;
      let count = 0;
      do {
        await mustAnswer(questions, newVersionFails, signal);
        count += questions.length;
        await sleep(REST_MS, undefined, { signal });
      } while (performance.now() < end);
      asked = count;
      return { asked };
    },
  };
}

/** Asks the site as its users do, once they have the new version, and leads them back when it does not answer as it should. */
export function outsideStep(context: FarmContext): Step {
  return afterSwitchStep(context, "switch/outside", {
    title: "ask the site from outside",
    inputs: { tries: MOST_TRIES },
    look: async (signal) => {
      const questions = questionsAt(context, context.farm.spec.sites.live);
      let failure: string | undefined;
      for (let tries = 1; tries <= MOST_TRIES; tries++) {
        failure = await firstFailure(questions, signal);
        if (failure === undefined) return { questions: questions.map(({ name }) => name), tries };
        await sleep(RETRY_MS, undefined, { signal });
      }
      await leadBack(await context.routers.open());
      throw new DoppelError(
        "switched-back",
        `the new version fails at the site's own address, users have the old one again: ${failure}`,
        { hint: "mend it, then 'doppel farm check' and 'doppel farm switch'" },
      );
    },
  });
}

async function mustAnswer(
  questions: readonly Question[],
  fails: (why: string) => DoppelError,
  signal: AbortSignal,
): Promise<void> {
  const failure = await firstFailure(questions, signal);
  if (failure !== undefined) throw fails(failure);
}

function wayBackFails(why: string, cause?: unknown): DoppelError {
  return new DoppelError(
    "way-back-fails",
    `the way back could not be rehearsed with the shadow address: ${why}; users still have the old version`,
    {
      hint: "mend the router or the site, then switch; where the site's name does not resolve here, sites.live.connect says where it is",
      exitCode: EXIT.refused,
      cause,
    },
  );
}

function newVersionFails(why: string): DoppelError {
  return new DoppelError(
    "new-version-fails",
    `the new version fails just before the switch: ${why}; users still have the old one`,
    { hint: "mend it, then 'doppel farm check' and 'doppel farm switch'", exitCode: EXIT.refused },
  );
}
