import type { Step } from "../engine/step.ts";
import type { OffUntilSwitch } from "../file/provisioning.ts";
import { mustRemote } from "../machines/remote.ts";
import type { Reachable } from "../machines/shared-connection.ts";
import { isOn } from "./off.ts";

/**
 * What may run on one side only goes over: off on the old side first, so that there are never two of it; undone in the other
 * order.
 */
export function handOverSteps(
  box: string,
  live: Reachable,
  shadow: Reachable,
  thing: OffUntilSwitch,
): Step[] {
  const inputs = { on: thing.on, off: thing.off, probe: thing.probe };
  const turn = async (machine: Reachable, words: readonly string[], signal: AbortSignal) => {
    await mustRemote(await machine.connect(signal), words, thing.timeout, signal);
  };
  return [
    {
      id: `switch/off/${box}/${thing.name}`,
      title: `turn ${thing.name} off on ${live.name}`,
      inputs,
      undoes: `turns ${thing.name} on again there`,
      undoTitle: `turn ${thing.name} on again on ${live.name}`,
      probe: async (signal) =>
        (await isOn(live, thing, signal)) ? { state: "absent" } : { state: "done", result: "off" },
      run: async (signal) => {
        await turn(live, thing.off, signal);
        return "turned off";
      },
      undo: (signal) => turn(live, thing.on, signal),
    },
    {
      id: `switch/on/${box}/${thing.name}`,
      title: `turn ${thing.name} on on ${shadow.name}`,
      inputs,
      undoes: `turns ${thing.name} off there`,
      undoTitle: `turn ${thing.name} off on ${shadow.name}`,
      probe: async (signal) =>
        (await isOn(shadow, thing, signal)) ? { state: "done", result: "on" } : { state: "absent" },
      run: async (signal) => {
        await turn(shadow, thing.on, signal);
        return "turned on";
      },
      undo: (signal) => turn(shadow, thing.off, signal),
    },
  ];
}
