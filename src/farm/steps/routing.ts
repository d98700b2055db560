import type { FarmContext } from "../context.ts";
import type { Reality, Step } from "../engine/step.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, canaryRouting, changeRouting } from "../routers/index.ts";
import type { Router } from "../routers/router.ts";
import { describeRouting, type Routing, sameRouting } from "../routers/routing.ts";

/** The step that gives users the new version; `rollback` undoes it. */
export const SWITCH_STEP = "switch/routers";

/** All users, in one step of each router. */
export function switchStep(context: FarmContext): Step {
  return routingStep(context, SWITCH_STEP, "give the site's users the new version", AFTER_SWITCH);
}

/** A share of the users first, 0 to 1; each of them keeps one version. */
export function canaryStep(context: FarmContext, share: number): Step {
  const to = firstUsers(share);
  const title = `give ${to.canaryPercent} % of the site's users the new version`;
  return routingStep(context, "switch/canary", title, to);
}

/** The routing of a canary: `share` of the users, 0 to 1, have the new version. */
export function firstUsers(share: number): Routing {
  return canaryRouting(Math.round(share * 100));
}

function routingStep(context: FarmContext, id: string, title: string, to: Routing): Step {
  return {
    id,
    title,
    inputs: { routing: { ...to } },
    undoes: "leads all users back to the old version",
    probe: async (signal) => await realityOf(await context.routers.open(), to, signal),
    run: async (signal) => {
      const start = performance.now();
      await changeRouting(await context.routers.open(), { from: BEFORE_SWITCH, to, signal });
      return { routing: describeRouting(to), milliseconds: Math.round(performance.now() - start) };
    },
    undo: async () => await leadBack(await context.routers.open()),
  };
}

/** Leads all users to the old version, on as many routers as can be reached. */
export async function leadBack(routers: readonly Router[]): Promise<void> {
  await changeRouting(routers, { from: AFTER_SWITCH, to: BEFORE_SWITCH });
}

async function realityOf(routers: readonly Router[], to: Routing, signal: AbortSignal): Promise<Reality> {
  const states = await Promise.all(routers.map((router) => router.probe(signal)));
  const all = (routing: Routing) =>
    states.every(({ agree, runtime }) => agree && sameRouting(runtime, routing));
  // Who has switched over has passed the canary.
  if (all(to) || all(AFTER_SWITCH)) return { state: "done", result: describeRouting(to) };
  if (all(BEFORE_SWITCH)) return { state: "absent" };
  const what = states.map(({ router, runtime, persisted, problems }) => {
    const now = runtime ? describeRouting(runtime) : (problems[0]?.message ?? "not known");
    const later =
      persisted && !sameRouting(runtime, persisted) ? `, ${describeRouting(persisted)} on disk` : "";
    return `${router}: ${now}${later}`;
  });
  return { state: "partial", why: what.join("; ") };
}
