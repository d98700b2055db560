import type { Verdict } from "./gate.ts";

/** Passed when there is no reason against it. */
export function verdict(good: string, reasons: readonly string[]): Verdict {
  return { passed: reasons.length === 0, message: reasons.length === 0 ? good : reasons.join("; ") };
}
