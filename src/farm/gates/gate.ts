/** What a gate found. */
export interface Verdict {
  passed: boolean;
  /** What was found; of a refusal, what is missing and what to do. */
  message: string;
}

/** A condition without which a flow does not begin. It looks and changes nothing. */
export interface Gate {
  id: string;
  title: string;
  look(signal: AbortSignal): Promise<Verdict>;
}
