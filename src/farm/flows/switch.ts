import { z } from "zod";
import type { FarmContext } from "../context.ts";
import type { Stage } from "../engine/step.ts";
import { oldSideGate } from "../gates/old-side.ts";
import { switchGates } from "../gates/switch.ts";
import type { Json } from "../journal/entry.ts";
import { notedStep } from "../steps/databases/noted.ts";
import { outsideStep, rehearsalStep, warmStep } from "../steps/outside.ts";
import { handOverSteps } from "../steps/ownership.ts";
import { canaryStep, switchStep } from "../steps/routing.ts";
import { Baseline, drainStep, watchStep } from "../steps/watch.ts";
import { restoreArguments } from "./databases/arguments.ts";
import { restoreStages } from "./databases/restore.ts";
import type { FarmFlow } from "./flow.ts";

/** The share of users who go first, 0 to 1, instead of the file's. */
const switchArguments = z.object({ canary: z.number().min(0).max(1).optional() });

/**
 * `doppel farm switch`: users get the new version, which is watched and led back from by itself. What may run on one side only
 * goes over once the new version has proven itself: until then a way back has nothing to do but the routers.
 */
export async function switchFlow(context: FarmContext, args: Json): Promise<FarmFlow> {
  const { watch, rehearsal } = context.farm.spec.switch;
  const asked = switchArguments.parse(args);
  const canary = asked.canary ?? context.farm.spec.switch.canary;
  const baseline = new Baseline(context);
  const stages: Stage[] = [];
  if (rehearsal) stages.push({ title: "rehearsal", lanes: [[rehearsalStep(context)]] });
  const sql = context.farm.spec.databases.filter((database) => database.engine !== "commands");
  if (sql.length > 0)
    stages.push({ title: "databases", lanes: sql.map((database) => [notedStep(context, database)]) });
  if (watch > 0) stages.push({ title: "baseline", lanes: [[baseline.step], [warmStep(context)]] });
  if (canary !== undefined && canary > 0) {
    const watched = watch > 0 ? [watchStep(context, baseline, canary)] : [];
    stages.push({ title: "first users", lanes: [[canaryStep(context, canary), ...watched]] });
  }
  stages.push({ title: "switch", lanes: [[switchStep(context), outsideStep(context)]] });
  if (watch > 0) stages.push({ title: "watch", lanes: [[watchStep(context, baseline)]] });
  stages.push({ title: "drain", lanes: [[drainStep(context)]] }, handOver(context));
  return {
    name: "switch",
    direction: "do",
    arguments: asked.canary === undefined ? {} : { canary: asked.canary },
    stages,
    gates: [{ beforeStage: 0, gates: await switchGates(context, canary) }],
  };
}

/**
 * `doppel farm rollback`: users first, then what goes with them, then the databases that were asked for. Nothing may keep one
 * from it but that `clean` has left nothing to go to.
 */
export async function rollbackFlow(context: FarmContext, args: Json): Promise<FarmFlow> {
  const { title, lanes } = handOver(context);
  const { restore } = restoreArguments.parse(args);
  return {
    name: "rollback",
    direction: "undo",
    arguments: restore.length > 0 ? { restore } : {},
    stages: [
      { title: "back", lanes: [[switchStep(context)]] },
      { title, lanes: lanes.map((lane) => lane.toReversed()) },
      ...restoreStages(context, restore),
    ],
    gates: [{ beforeStage: 0, gates: [oldSideGate(context)] }],
  };
}

function handOver({ farm, machines }: FarmContext): Stage {
  const lanes = farm.spec.boxes.flatMap((box) =>
    farm.spec.off.map((thing) => handOverSteps(box.name, machines.live(box), machines.shadow(box), thing)),
  );
  return { title: "what may run on one side only", lanes };
}
