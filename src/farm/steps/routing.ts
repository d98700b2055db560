import type { FarmContext } from "../context.ts";
import type { Reality, Step } from "../engine/step.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, canaryRouting, changeRouting, WITHOUT_OLD } from "../routers/index.ts";
import { describeState, type Router, type RouterState } from "../routers/router.ts";
import { describeRouting, type Routing, sameRouting } from "../routers/routing.ts";

/** The step that gives users the new version; `rollback` undoes it. */
export const SWITCH_STEP = "switch/routers";

/** All users, in one step of each router. */
export function switchStep(context: FarmContext): Step {
  return forwardStep(context, {
    id: SWITCH_STEP,
    title: "give the site's users the new version",
    to: AFTER_SWITCH,
    beyond: [WITHOUT_OLD],
  });
}

/** A share of the users first, 0 to 1; each of them keeps one version. */
export function canaryStep(context: FarmContext, share: number): Step {
  const to = firstUsers(share);
  const title = `give ${to.canaryPercent} % of the site's users the new version`;
  // Who has switched over has passed the canary.
  return forwardStep(context, { id: "switch/canary", title, to, beyond: [AFTER_SWITCH, WITHOUT_OLD] });
}

/** Lets nothing lead to the old version any more. It has no undo: what follows removes that version. */
export function detachStep(context: FarmContext): Step {
  return routingStep(context, {
    id: "clean/routers",
    title: "lead both of the site's addresses to the new version",
    undoes: "nothing: the old version is to be removed",
    from: AFTER_SWITCH,
    to: WITHOUT_OLD,
    beyond: [],
  });
}

/** The routing of a canary: `share` of the users, 0 to 1, have the new version. */
export function firstUsers(share: number): Routing {
  return canaryRouting(Math.round(share * 100));
}

interface Change {
  id: string;
  title: string;
  undoes: string;
  from: Routing;
  to: Routing;
  /** Routings that come after `to`: there it has been made. */
  beyond: readonly Routing[];
}

/** A step on the way to the new version, which can be led back from. */
function forwardStep(context: FarmContext, change: Omit<Change, "from" | "undoes">): Step {
  return {
    ...routingStep(context, {
      ...change,
      from: BEFORE_SWITCH,
      undoes: "leads all users back to the old version",
    }),
    undoTitle: "give the site's users the old version again",
    undo: async () => await leadBack(await context.routers.open()),
  };
}

function routingStep(context: FarmContext, change: Change): Step {
  const { id, title, undoes, from, to } = change;
  return {
    id,
    title,
    inputs: { routing: { ...to } },
    undoes,
    movesUsers: true,
    probe: async (signal) => realityOf(await context.routers.probe(signal), change),
    run: async (signal) => {
      const start = performance.now();
      await changeRouting(await context.routers.open(), { from, to, signal });
      return { routing: describeRouting(to), milliseconds: Math.round(performance.now() - start) };
    },
  };
}

/** Leads all users to the old version, on as many routers as can be reached. */
export async function leadBack(routers: readonly Router[]): Promise<void> {
  await changeRouting(routers, { from: AFTER_SWITCH, to: BEFORE_SWITCH });
}

/** Whether all users have the old version, on all routers. */
export async function hasOldVersion(context: FarmContext, signal: AbortSignal): Promise<boolean> {
  const states = await context.routers.probe(signal);
  return states.every(({ runtime }) => sameRouting(runtime, BEFORE_SWITCH));
}

function realityOf(states: readonly RouterState[], { from, to, beyond }: Change): Reality {
  const all = (routing: Routing) =>
    states.every(({ agree, runtime }) => agree && sameRouting(runtime, routing));
  if ([to, ...beyond].some(all)) return { state: "done", result: describeRouting(to) };
  if (all(from)) return { state: "absent" };
  return { state: "partial", why: states.map(describeState).join(", ") };
}
