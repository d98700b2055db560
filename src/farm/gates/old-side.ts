import type { FarmContext } from "../context.ts";
import type { FarmBox } from "../file/boxes.ts";
import { CLEAN, foldJournal, isChange } from "../journal/state.ts";
import { inFlightText } from "../routers/drain.ts";
import { AFTER_SWITCH, WITHOUT_OLD } from "../routers/index.ts";
import { describeState, type RouterState } from "../routers/router.ts";
import { type Routing, sameRouting } from "../routers/routing.ts";
import { OLD_MACHINE_STEP, oldDomain } from "../steps/old-machine.ts";
import { SWITCH_STEP } from "../steps/routing.ts";
import type { Gate } from "./gate.ts";
import { verdict } from "./verdict.ts";

/** What must be so before the old version is left for good. */
export function cleanGates(context: FarmContext): Gate[] {
  return [switchedGate(context), finishedGate(context), othersGate(context)];
}

/** Every router leads users to the new version, now and after a restart; a `clean` that was killed may have changed one of the two. */
function switchedGate({ routers }: FarmContext): Gate {
  return {
    id: "switched",
    title: "users have the new version",
    look: async (signal) => {
      const leadsToNew = (found: Routing | undefined) =>
        [AFTER_SWITCH, WITHOUT_OLD].some((routing) => sameRouting(found, routing));
      const isSwitched = ({ runtime, persisted }: RouterState) =>
        leadsToNew(runtime) && leadsToNew(persisted);
      const others = (await routers.probe(signal)).filter((state) => !isSwitched(state));
      return verdict("all routers say so", others.map(describeState));
    },
  };
}

function finishedGate({ journal }: FarmContext): Gate {
  return {
    id: "finished",
    title: "the switch came to its end",
    look: async () => {
      const last = foldJournal(journal.entries()).runs.findLast((run) => isChange(run) && run.flow !== CLEAN);
      return verdict(
        "no command is unfinished",
        last && last.outcome !== "done"
          ? [`'${last.flow}' of ${last.started} did not: run 'doppel farm resume', or 'doppel farm rollback'`]
          : [],
      );
    },
  };
}

/** What the file calls old is not what users have now. */
function othersGate({ farm, machines }: FarmContext): Gate {
  const isShadow = (box: FarmBox) => {
    const old = oldDomain(box);
    return farm.spec.boxes.some(
      (other) =>
        other.kind === "libvirt" &&
        other.connect === old?.connect &&
        machines.shadow(other).name === old.domain,
    );
  };
  return {
    id: "others",
    title: "no old machine is a shadow",
    look: async () =>
      verdict(
        "all are others",
        farm.spec.boxes
          .filter(isShadow)
          .map((box) => `${box.live?.domain} is a shadow: mend live.domain of ${box.name}`),
      ),
  };
}

/** Nothing runs on the old version any more; waits for it, and cuts nothing. */
export function unusedGate({ routers, farm }: FarmContext): Gate {
  return {
    id: "unused",
    title: "nothing runs on the old version any more",
    look: async (signal) => {
      const { remaining, unknown } = await routers.drainOld(farm.spec.switch.drain, signal);
      const busy = remaining.filter(({ inFlight }) => inFlight > 0);
      const others = unknown.map((router) => `; ${router} does not tell`).join("");
      return verdict(
        `no router has a request in flight there${others}`,
        busy.map(({ router, inFlight }) => `${router} has ${inFlightText(inFlight)} in flight there`),
      );
    },
  };
}

/** There is an old version to go back to: `clean` has not removed it since the switch. */
export function oldSideGate({ journal }: FarmContext): Gate {
  return {
    id: "old-side",
    title: "there is an old version to go back to",
    look: async () => {
      const entries = journal.entries();
      const removal = entries.findLast(
        ({ event }) => event.kind === "step-started" && event.step.startsWith(OLD_MACHINE_STEP),
      );
      const cleaned = foldJournal(entries).runs.findLast(
        ({ flow, outcome }) => flow === CLEAN && outcome === "done",
      );
      const switched = entries.findLast(
        ({ event }) => event.kind === "step-started" && event.step === SWITCH_STEP,
      );
      const gone = Math.max(removal?.sequence ?? 0, cleaned?.run ?? 0);
      return verdict(
        "it was not removed",
        gone > (switched?.sequence ?? 0) ? ["'doppel farm clean' has removed it"] : [],
      );
    },
  };
}
