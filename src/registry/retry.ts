import { setTimeout as delay } from "node:timers/promises";
import type { DoppelError } from "../errors.ts";

/** How often and how patiently something is tried again. Milliseconds. */
export interface Patience {
  attempts: number;
  firstDelayMs: number;
  mostDelayMs: number;
}

export const PATIENCE: Patience = { attempts: 6, firstDelayMs: 500, mostDelayMs: 20_000 };

/** A failure that another attempt may not meet; `afterMs` when the server says when. */
export class Passing extends Error {
  readonly failure: DoppelError;
  readonly afterMs: number | undefined;

  constructor(failure: DoppelError, afterMs?: number) {
    super(failure.message);
    this.failure = failure;
    this.afterMs = afterMs;
  }
}

/**
 * Carries out `attempt` until it does not fail with `Passing`, with exponential back-off and jitter between; then throws
 * the last failure. `progressed` starts the count anew: a transfer that gets on is not given up.
 */
export async function withRetries<T>(
  attempt: () => Promise<T>,
  options: { patience?: Patience; signal?: AbortSignal | undefined; progressed?: () => boolean } = {},
): Promise<T> {
  const { patience = PATIENCE, signal, progressed } = options;
  for (let failed = 0; ; ) {
    signal?.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Passing)) throw error;
      failed = progressed?.() ? 1 : failed + 1;
      if (failed >= patience.attempts) throw error.failure;
      await delay(waitMs(error, failed, patience), undefined, signal ? { signal } : {});
    }
  }
}

function waitMs(error: Passing, failed: number, { firstDelayMs, mostDelayMs }: Patience): number {
  const backOff = Math.min(firstDelayMs * 2 ** (failed - 1), mostDelayMs);
  return Math.min(error.afterMs ?? backOff * (0.5 + Math.random() / 2), mostDelayMs * 3);
}
