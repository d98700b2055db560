/** What a probe found by trying. */
export interface Finding {
  outcome: "ok" | "degraded" | "missing";
  /** What was found, in a few words. */
  what: string;
  /** The exact command that mends it. */
  mend?: string;
}

/** One thing that this machine can or cannot do. To add one is to add a file and a line in probes.ts. */
export interface Probe {
  name: string;
  /** What is not possible without it. */
  neededFor: string;
  /** Without it the main jobs still work. */
  optional: boolean;
  run(home: string): Promise<Finding>;
}

export interface Diagnosis extends Finding {
  name: string;
  neededFor: string;
  optional: boolean;
}
