import type { FarmContext } from "../context.ts";
import { cleanGates, unusedGate } from "../gates/old-side.ts";
import { CLEAN } from "../journal/state.ts";
import { leftSteps } from "../steps/databases/clean.ts";
import { oldMachineSteps } from "../steps/old-machine.ts";
import { detachStep } from "../steps/routing.ts";
import type { FarmFlow } from "./flow.ts";

/** `doppel farm clean`: nothing leads to the old version any more, and its machines are taken out of libvirt. No disk is removed. */
export async function cleanFlow(context: FarmContext): Promise<FarmFlow> {
  const { boxes } = context.farm.spec;
  return {
    name: CLEAN,
    direction: "do",
    arguments: {},
    stages: [
      { title: "routers", lanes: [[detachStep(context)]] },
      { title: "old machines", lanes: await Promise.all(boxes.map((box) => oldMachineSteps(context, box))) },
      { title: "databases", lanes: leftSteps(context).map((step) => [step]) },
    ],
    gates: [
      { beforeStage: 0, gates: cleanGates(context) },
      { beforeStage: 1, gates: [unusedGate(context)] },
    ],
  };
}
