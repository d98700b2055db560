import { setTimeout as sleep } from "node:timers/promises";
import { DoppelError } from "../../errors.ts";
import { checkShadow } from "../check/machine-checks.ts";
import type { Reality, Step } from "../engine/step.ts";
import type { ReadinessCheck } from "../file/checks.ts";
import type { Shadow } from "../machines/shadow.ts";

const EVERY_MS = 1000;

/** Waits until everything holds that tells that a shadow is ready. */
export function readyStep(shadow: Shadow, checks: readonly ReadinessCheck[], withinMs: number): Step {
  const mine = checks.filter(({ boxes }) => boxes === undefined || boxes.includes(shadow.box.name));
  const probe = (signal: AbortSignal) => readiness(shadow, mine, signal);
  return {
    id: `box/${shadow.box.name}/ready`,
    title: `${shadow.name} is ready`,
    inputs: { checks: mine.map(({ name }) => name), withinMs },
    undoes: "nothing to undo",
    probe,
    run: async (signal) => {
      const deadline = performance.now() + withinMs;
      for (;;) {
        const found = await probe(signal);
        if (found.state === "done") return found.result;
        const why = found.state === "partial" ? found.why : "it does not answer";
        if (performance.now() > deadline) throw notReady(shadow, withinMs, why);
        await sleep(EVERY_MS, undefined, { signal });
      }
    },
  };
}

async function readiness(
  shadow: Shadow,
  checks: readonly ReadinessCheck[],
  signal: AbortSignal,
): Promise<Reality> {
  const results: Record<string, string> = {};
  for (const check of checks) {
    const { passed, message } = await checkShadow(check, shadow, signal);
    if (!passed) return { state: "partial", why: `${check.name}: ${message}` };
    results[check.name] = message;
  }
  return { state: "done", result: results };
}

function notReady(shadow: Shadow, withinMs: number, why: string): DoppelError {
  return new DoppelError(
    "shadow-not-ready",
    `${shadow.name} was not ready within ${withinMs / 1000} s: ${why}`,
    {
      hint: "mend it in the machine or in the farm file; then 'doppel farm resume', or 'provision' after a change",
    },
  );
}
