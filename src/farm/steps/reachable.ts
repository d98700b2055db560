import { setTimeout as sleep } from "node:timers/promises";
import { DoppelError, EXIT } from "../../errors.ts";
import type { Step } from "../engine/step.ts";
import type { Shadow } from "../machines/shadow.ts";

const EVERY_MS = 1000;
const TELL_EVERY_MS = 30_000;

/** Waits until a shadow lets us in over SSH, with the key that it must show. */
export function reachableStep(shadow: Shadow, withinMs: number, tell: (line: string) => void): Step {
  return {
    id: `box/${shadow.box.name}/reachable`,
    title: `reach ${shadow.name} over SSH`,
    inputs: { withinMs },
    undoes: "nothing to undo",
    probe: async (signal) => {
      try {
        const connection = await shadow.connect(signal);
        return { state: "done", result: { name: connection.name, address: await shadow.requireAddress() } };
      } catch (error) {
        signal.throwIfAborted();
        // Another key than it must show is no matter of patience.
        if (error instanceof DoppelError && error.exitCode === EXIT.refused) throw error;
        return { state: "absent" };
      }
    },
    run: async (signal) => {
      const start = performance.now();
      const deadline = start + withinMs;
      for (let told = start; ; ) {
        try {
          const connection = await shadow.connect(signal);
          return { name: connection.name, address: await shadow.requireAddress() };
        } catch (error) {
          signal.throwIfAborted();
          if (error instanceof DoppelError && error.exitCode === EXIT.refused) throw error;
          if (performance.now() > deadline) throw notReached(shadow, withinMs, error);
        }
        if (performance.now() > told + TELL_EVERY_MS) {
          told = performance.now();
          tell(waits(shadow, told - start, deadline - told));
        }
        await sleep(EVERY_MS, undefined, { signal });
      }
    },
  };
}

function waits({ name }: Shadow, sinceMs: number, leftMs: number): string {
  const seconds = (milliseconds: number) => Math.max(0, Math.round(milliseconds / 1000));
  return `${name} has not let us in for ${seconds(sinceMs)} s; ${seconds(leftMs)} s left`;
}

function notReached(shadow: Shadow, withinMs: number, cause: unknown): DoppelError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new DoppelError(
    "shadow-unreachable",
    `${shadow.name} did not let us in within ${withinMs / 1000} s: ${why}`,
    {
      hint: `look at its console (virsh console, console.log); then 'doppel farm resume', or 'doppel discard ${shadow.name}' and provision again`,
      cause,
    },
  );
}
