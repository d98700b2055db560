import { DoppelError, EXIT, messageOf } from "../../errors.ts";
import type { FarmLease } from "../journal/lease.ts";
import type { Gate, Verdict } from "./gate.ts";

export interface GateResult extends Verdict {
  gate: string;
  title: string;
}

/** Looks at every gate; a gate that cannot look is closed. */
export async function lookAtGates(gates: readonly Gate[], signal: AbortSignal): Promise<GateResult[]> {
  return await Promise.all(
    gates.map(async ({ id, title, look }) => {
      try {
        return { gate: id, title, ...(await look(signal)) };
      } catch (error) {
        signal.throwIfAborted();
        return {
          gate: id,
          title,
          passed: false,
          message: messageOf(error),
        };
      }
    }),
  );
}

/**
 * Looks at every gate, records what it found, and throws `gate-closed` (exit 3) naming all that are closed; it says whether steps came
 * `before` them.
 */
export async function passGates(
  gates: readonly Gate[],
  { lease, run, before, signal }: { lease: FarmLease; run: number; before: boolean; signal: AbortSignal },
): Promise<void> {
  const results = await lookAtGates(gates, signal);
  for (const { gate, passed, message } of results) lease.append({ kind: "gate", run, gate, passed, message });
  const closed = results.filter(({ passed }) => !passed);
  if (closed.length === 0) return;
  const reasons = closed.map(({ title, message }) => `${title}: ${message}`).join("; ");
  throw new DoppelError("gate-closed", reasons, {
    hint: before
      ? "the steps before it are done and stay; 'doppel farm resume' goes on from there"
      : "nothing was changed; 'doppel farm plan' shows every gate",
    exitCode: EXIT.refused,
    details: { closed },
  });
}
