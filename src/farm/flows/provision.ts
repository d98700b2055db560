import type { FarmContext } from "../context.ts";
import type { Stage, Step } from "../engine/step.ts";
import type { FarmBox } from "../file/boxes.ts";
import { roomGates } from "../gates/room.ts";
import { imageStep, placeImageStep, poolsOf } from "../steps/image.ts";
import { keepOffStep } from "../steps/off.ts";
import { provisioningSteps } from "../steps/provisioning.ts";
import { reachableStep } from "../steps/reachable.ts";
import { readyStep } from "../steps/ready.ts";
import { shadowStep } from "../steps/shadow.ts";
import type { FarmFlow } from "./flow.ts";

/** `doppel farm provision`: a shadow beside every box, with what it needs, ready. */
export async function provisionFlow(context: FarmContext): Promise<FarmFlow> {
  const { boxes } = context.farm.spec;
  const libvirt = boxes.filter((box) => box.kind === "libvirt");
  const stages: Stage[] = [];
  if (libvirt.length > 0) stages.push({ title: "image", lanes: [[imageStep(context)]] });
  const places = poolsOf(libvirt).map(({ connect, pool }) => [placeImageStep(context, connect, pool)]);
  if (places.length > 0) stages.push({ title: "image on the hosts", lanes: places });
  const lanes = await Promise.all(boxes.map((box) => boxLane(context, box)));
  stages.push({ title: "shadows", lanes });
  return {
    name: "provision",
    direction: "do",
    arguments: {},
    stages,
    // The room is asked for once the image is here: it says how much.
    gates: [{ beforeStage: stages.length - 1, gates: roomGates(context) }],
  };
}

async function boxLane(context: FarmContext, box: FarmBox): Promise<Step[]> {
  const shadow = context.machines.shadow(box);
  const { off, provision } = context.farm.spec;
  return [
    ...(box.kind === "libvirt" ? [await shadowStep(context, box)] : []),
    reachableStep(shadow, provision.reachable, (line) => context.tell(line)),
    ...off.map((thing) => keepOffStep(shadow, thing, `box/${box.name}/off-at-first/${thing.name}`)),
    ...(await provisioningSteps(context.farm, shadow)),
    // Once more: what was installed meanwhile may have started it.
    ...off.map((thing) => keepOffStep(shadow, thing, `box/${box.name}/off/${thing.name}`)),
    readyStep(shadow, provision.ready, provision.readyWithin),
  ];
}
