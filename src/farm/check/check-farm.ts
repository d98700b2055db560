import type { FarmContext } from "../context.ts";
import { failureOf } from "../engine/converge.ts";
import type { Evidence } from "../journal/entry.ts";
import type { FarmLease } from "../journal/lease.ts";
import { CHECK } from "../journal/state.ts";
import { compareSites } from "./compare.ts";
import { runMatrix } from "./matrix.ts";

export interface CheckOptions {
  /** Paths to compare the shadow site with the live one by; none by default. */
  compared?: readonly string[];
}

/** Looks at the whole matrix and keeps what was found as evidence in the journal. */
export async function checkFarm(
  context: FarmContext,
  lease: FarmLease,
  signal: AbortSignal,
  { compared = [] }: CheckOptions = {},
): Promise<Evidence[]> {
  const { farm } = context;
  const file = { path: farm.path, digest: farm.digest };
  const { sequence: run } = lease.append({
    kind: "run-started",
    flow: CHECK,
    arguments: {},
    file,
    resumes: null,
  });
  try {
    const both = AbortSignal.any([signal, lease.signal]);
    const cells = [...(await runMatrix(context, both)), ...(await compareSites(context, compared, both))];
    lease.append({ kind: "evidence", run, cells });
    lease.append({ kind: "run-ended", run, outcome: "done", error: null });
    return cells;
  } catch (error) {
    if (!lease.signal.aborted)
      lease.append({
        kind: "run-ended",
        run,
        outcome: signal.aborted ? "interrupted" : "failed",
        error: failureOf(error),
      });
    throw error;
  }
}
