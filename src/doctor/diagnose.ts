import { messageOf } from "../errors.ts";
import type { Diagnosis, Probe } from "./probe.ts";
import { PROBES } from "./probes.ts";

/** Runs every probe; one that fails itself counts as missing. */
export async function diagnose(home: string): Promise<Diagnosis[]> {
  return await Promise.all(PROBES.map((probe) => runProbe(probe, home)));
}

/** True when nothing is missing that the main jobs need. */
export function mainJobsPossible(diagnoses: readonly Diagnosis[]): boolean {
  return diagnoses.every((diagnosis) => diagnosis.optional || diagnosis.outcome !== "missing");
}

async function runProbe(probe: Probe, home: string): Promise<Diagnosis> {
  const { name, neededFor, optional } = probe;
  try {
    return { name, neededFor, optional, ...(await probe.run(home)) };
  } catch (error) {
    const what = messageOf(error);
    return { name, neededFor, optional, outcome: "missing", what };
  }
}
