import { setTimeout as sleep } from "node:timers/promises";
import { cannot } from "./failure.ts";
import type { Router } from "./router.ts";
import type { Side } from "./routing.ts";

export interface DrainResult {
  /** Requests and tunnels that still run on the side, by router. */
  remaining: { router: string; inFlight: number }[];
  drained: boolean;
  waitedMs: number;
}

const LOOK_MS = 100;

/** `1 request or tunnel`, `2 requests or tunnels`. */
export function inFlightText(inFlight: number): string {
  return inFlight === 1 ? "1 request or tunnel" : `${inFlight} requests or tunnels`;
}

/**
 * Waits until what runs on a side has ended, at most `timeoutMs`. Nothing is cut: who still uses a tunnel then keeps it.
 * A side that has an address of its own, as the old one has after a switch, may get new requests meanwhile.
 */
export async function drainSide(
  routers: readonly Router[],
  side: Side,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
): Promise<DrainResult> {
  for (const { name, abilities } of routers) {
    if (!abilities.has("drain"))
      throw cannot(name, "drain", "it does not tell how many requests it has in flight");
  }
  const startMs = performance.now();
  while (true) {
    const remaining = await Promise.all(
      routers.map(async (router) => ({
        router: router.name,
        inFlight: (await router.statistics(signal)).sides[side].inFlight ?? 0,
      })),
    );
    const waitedMs = performance.now() - startMs;
    const drained = remaining.every(({ inFlight }) => inFlight === 0);
    if (drained || waitedMs >= timeoutMs) return { remaining, drained, waitedMs };
    await sleep(LOOK_MS, undefined, signal ? { signal } : {});
  }
}
