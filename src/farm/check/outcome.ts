import { messageOf } from "../../errors.ts";
import { unlessAborted } from "../engine/unless-aborted.ts";
/** What a check found. */
export interface Outcome {
  passed: boolean;
  /** What was seen, in one sentence; nothing secret. */
  message: string;
  latencyMs: number | null;
}

/** Runs one look within a time limit; whatever goes wrong is a failed outcome, never an exception, except an abort. */
export async function looked(
  timeoutMs: number,
  signal: AbortSignal,
  look: (signal: AbortSignal) => Promise<Omit<Outcome, "latencyMs">>,
): Promise<Outcome> {
  const limit = AbortSignal.timeout(Math.ceil(timeoutMs));
  const started = performance.now();
  const elapsed = () => Math.round((performance.now() - started) * 10) / 10;
  const both = AbortSignal.any([signal, limit]);
  try {
    const found = await unlessAborted(look(both), both);
    return { ...found, latencyMs: found.passed ? elapsed() : null };
  } catch (error) {
    signal.throwIfAborted();
    if (limit.aborted)
      return { passed: false, message: `no answer in ${Math.ceil(timeoutMs) / 1000} s`, latencyMs: null };
    return {
      passed: false,
      message: messageOf(error),
      latencyMs: null,
    };
  }
}
