import type { FarmContext } from "../context.ts";
import { mapBounded } from "../engine/bounded.ts";
import type { Evidence } from "../journal/entry.ts";
import { OUTSIDE } from "./cells.ts";
import { type Answered, difference, median } from "./difference.ts";
import { looked } from "./outcome.ts";
import { askSite } from "./outside.ts";

/** The kind of these cells: they are evidence, and no gate waits for them. */
export const COMPARE = "compare";

/**
 * Asks the live and the shadow address the same, in turn, and tells by the file's rules where the answers differ. One cell for each
 * path; the values in its query are not told: they may be secret.
 */
export async function compareSites(
  context: FarmContext,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<Evidence[]> {
  const { compare, parallel } = context.farm.spec;
  return await mapBounded(paths, parallel, async (path) => {
    const to = withoutValues(path);
    // Both addresses are asked `times` times.
    const outcome = await looked(2 * compare.times * compare.timeout, signal, async (limit) => {
      const { live, shadow } = await askBoth(context, path, limit);
      const differs = difference(live, shadow, compare);
      const same = `status ${shadow.status} of both; ${live.milliseconds} ms live, ${shadow.milliseconds} ms shadow`;
      return { passed: differs === undefined, message: differs ?? same };
    });
    const time = new Date().toISOString();
    return { id: `${COMPARE}/${OUTSIDE}/${to}`, kind: COMPARE, from: OUTSIDE, to, ...outcome, time };
  });
}

async function askBoth(context: FarmContext, path: string, signal: AbortSignal) {
  const { sites, compare } = context.farm.spec;
  const answers = { live: [] as Answered[], shadow: [] as Answered[] };
  for (let time = 0; time < compare.times; time++) {
    for (const side of ["live", "shadow"] as const) {
      const started = performance.now();
      const { status, body } = await askSite(context, sites[side], path, compare.headers ?? {}, signal);
      const milliseconds = Math.round((performance.now() - started) * 10) / 10;
      answers[side].push({ status, body: body.toString(), milliseconds });
    }
  }
  return { live: settled(answers.live), shadow: settled(answers.shadow) };
}

/** The last answer with the median time: a first request may meet what is not warm yet. */
function settled(answers: readonly Answered[]): Answered {
  const { status = 0, body = "" } = answers.at(-1) ?? {};
  return { status, body, milliseconds: median(answers.map(({ milliseconds }) => milliseconds)) };
}

function withoutValues(path: string): string {
  return path.replace(/=[^&#]*/g, "=…").slice(0, 100);
}
