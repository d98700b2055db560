import type { Doppel } from "../system/doppel.ts";

/** Two emulated machines beside each other take longer than a user would wait. */
const PATIENCE = ["--timeout", "7m"];

/** What a boot test of a guest with the ledger's service says, on one bus. */
export async function bootReport(doppel: Doppel, ref: string, bus: string): Promise<Record<string, unknown>> {
  return await doppel.json("boot-test", ref, "--bus", bus, "--port", "8080", "--memory", "1G", ...PATIENCE);
}
