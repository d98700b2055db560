import { Command } from "commander";
import { diagnose, mainJobsPossible } from "../doctor/diagnose.ts";
import type { Diagnosis } from "../doctor/probe.ts";
import { EXIT } from "../errors.ts";
import { defaultHome } from "../store/image-store.ts";
import { printJson } from "./output.ts";

const MARKS = { ok: "ok      ", degraded: "degraded", missing: "missing " } as const;

/** `doppel doctor`: what this machine can do, found out by doing it. */
export function doctorCommand(): Command {
  return new Command("doctor")
    .description("try what this machine can do, and name the command that mends what it lacks")
    .option("--json", "print the result as JSON")
    .action(async (flags: { json?: boolean }) => {
      const diagnoses = await diagnose(defaultHome());
      const possible = mainJobsPossible(diagnoses);
      if (flags.json) printJson({ possible, probes: diagnoses });
      else process.stdout.write(describe(diagnoses, possible));
      if (!possible) process.exitCode = EXIT.failed;
    });
}

function describe(diagnoses: readonly Diagnosis[], possible: boolean): string {
  const lines = diagnoses.flatMap(({ name, outcome, what, neededFor, mend }) => [
    `${MARKS[outcome]}  ${name.padEnd(16)}${what.split("\n")[0]}`,
    ...(outcome === "ok"
      ? []
      : [`          ${"".padEnd(16)}for ${neededFor}${mend ? `; mend it: ${mend}` : ""}`]),
  ]);
  const verdict = possible
    ? "capture, export and thaw can work here"
    : "something is missing that the main jobs need";
  return `${lines.join("\n")}\n\n${verdict}\n`;
}
