import type { Step } from "../engine/step.ts";
import type { OffUntilSwitch } from "../file/provisioning.ts";
import { mustRemote, runRemote } from "../machines/remote.ts";
import type { Reachable } from "../machines/shared-connection.ts";

/** Whether something that may run on one side only runs in this machine. */
export async function isOn(machine: Reachable, thing: OffUntilSwitch, signal: AbortSignal): Promise<boolean> {
  const result = await runRemote(await machine.connect(signal), thing.probe, thing.timeout, signal);
  return result.code === 0;
}

/** Keeps something off in a shadow until the switch: two of it would both act on one database. */
export function keepOffStep(machine: Reachable, thing: OffUntilSwitch, id: string): Step {
  return {
    id,
    title: `keep ${thing.name} off on ${machine.name}`,
    inputs: { off: thing.off, probe: thing.probe },
    undoes: "nothing: it stays off, since it runs on the live side",
    probe: async (signal) =>
      (await isOn(machine, thing, signal))
        ? { state: "absent" }
        : { state: "done", result: `${thing.name} is off` },
    run: async (signal) => {
      await mustRemote(await machine.connect(signal), thing.off, thing.timeout, signal);
      return `${thing.name} was turned off`;
    },
  };
}
