/** What one side answered to a request that was sent several times. */
export interface Answered {
  status: number;
  /** The body as text; what is no UTF-8 compares as its replacement characters. */
  body: string;
  /** The median. */
  milliseconds: number;
}

export interface DifferenceRules {
  /** What these match is left out of both bodies. */
  ignore: readonly string[];
  /** So many times slower than live is too slow. */
  latency: number;
}

/** Below that nobody notices a difference, and a machine under load makes one. */
const UNNOTICED_MS = 50;
const SHOWN = 60;

/** How the new version's answer differs from the old one's, in one sentence; undefined when it does not. */
export function difference(live: Answered, shadow: Answered, rules: DifferenceRules): string | undefined {
  if (live.status !== shadow.status) return `status ${shadow.status} instead of ${live.status}`;
  const [was, is] = [live, shadow].map(({ body }) => withoutIgnored(body, rules.ignore).split("\n")) as [
    string[],
    string[],
  ];
  const at = was.findIndex((line, index) => line !== is[index]);
  if (at >= 0) return `line ${at + 1} of the body is ${shown(is[at])} instead of ${shown(was[at])}`;
  if (is.length > was.length) return `the body has ${is.length} lines instead of ${was.length}`;
  if (shadow.milliseconds > live.milliseconds * rules.latency + UNNOTICED_MS)
    return `${shadow.milliseconds} ms instead of ${live.milliseconds} ms`;
  return undefined;
}

function withoutIgnored(body: string, ignore: readonly string[]): string {
  return ignore.reduce((text, pattern) => text.replace(new RegExp(pattern, "gu"), ""), body);
}

function shown(line: string | undefined): string {
  if (line === undefined) return "missing";
  const visible = line.replace(/\p{C}/gu, "·");
  return `'${visible.length > SHOWN ? `${visible.slice(0, SHOWN)}…` : visible}'`;
}

/** The middle one; of an even count the upper of the two. */
export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}
