import type { Outcome } from "./outcome.ts";

type Found = Omit<Outcome, "latencyMs">;

/** The answer of a database, against what the file says that it must be. */
export function judgeRow(answer: string | null | undefined, equals: string | undefined): Found {
  if (equals === undefined) return { passed: true, message: "the query was answered" };
  if (answer === equals) return { passed: true, message: `the answer is '${equals}'` };
  return { passed: false, message: `the answer is '${answer ?? "nothing"}' instead of '${equals}'` };
}

/** How a command ended, against what the file says. */
export function judgeOutput(
  { code, stdout, stderr }: { code: number; stdout: string; stderr: string },
  wanted: { exit: number; contains?: string | undefined },
): Found {
  if (code !== wanted.exit) {
    const words = (stderr.trim() || stdout.trim()).split("\n").at(-1) ?? "";
    return { passed: false, message: `exit code ${code} instead of ${wanted.exit}${words && `: ${words}`}` };
  }
  if (wanted.contains !== undefined && !stdout.includes(wanted.contains))
    return { passed: false, message: `its output lacks '${wanted.contains}'` };
  return { passed: true, message: `exit code ${code}` };
}
