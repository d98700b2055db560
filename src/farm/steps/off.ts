import type { Step } from "../engine/step.ts";
import type { OffUntilSwitch } from "../file/provisioning.ts";
import { mustRemote, runRemote } from "../machines/remote.ts";
import type { Shadow } from "../machines/shadow.ts";

/** Whether something that may run on one side only runs in this machine. */
export async function isOn(shadow: Shadow, thing: OffUntilSwitch, signal: AbortSignal): Promise<boolean> {
  const result = await runRemote(await shadow.connect(signal), thing.probe, thing.timeout, signal);
  return result.code === 0;
}

/** Keeps something off in a shadow until the switch: two of it would both act on one database. */
export function keepOffStep(shadow: Shadow, thing: OffUntilSwitch, id: string): Step {
  return {
    id,
    title: `keep ${thing.name} off on ${shadow.name}`,
    inputs: { off: thing.off, probe: thing.probe },
    undoes: "nothing: it stays off, since it runs on the live side",
    probe: async (signal) =>
      (await isOn(shadow, thing, signal))
        ? { state: "absent" }
        : { state: "done", result: `${thing.name} is off` },
    run: async (signal) => {
      await mustRemote(await shadow.connect(signal), thing.off, thing.timeout, signal);
      return `${thing.name} was turned off`;
    },
  };
}
