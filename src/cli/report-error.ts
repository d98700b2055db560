import { abortReason, DoppelError, EXIT, type ExitCode, messageOf, systemErrorCode } from "../errors.ts";

/** Prints an error on stderr, one line and its hint, and returns the exit code. */
export function reportError(thrown: unknown, options: { verbose: boolean; interrupted: boolean }): ExitCode {
  const error = abortReason(thrown);
  process.stderr.write(`${describeError(error, options.verbose)}\n`);
  if (options.interrupted) return EXIT.interrupted;
  return error instanceof DoppelError ? error.exitCode : EXIT.failed;
}

/** The error as text: `doppel: what failed (code)`, then what to do, then, when verbose, the chain of causes. */
export function describeError(error: unknown, verbose: boolean): string {
  const lines: string[] = [];
  if (error instanceof DoppelError) {
    lines.push(`doppel: ${oneLine(error.message)} [${error.code}]${error.hint ? ` - ${error.hint}` : ""}`);
  } else {
    lines.push(`doppel: ${oneLine(plainMessage(error))} [${systemErrorCode(error) ?? "unexpected"}]`);
  }
  if (verbose) {
    let cause = error instanceof Error ? error.cause : undefined;
    while (cause instanceof Error) {
      lines.push(`  because: ${oneLine(cause.message)}`);
      cause = cause.cause;
    }
    if (error instanceof Error && !(error instanceof DoppelError) && error.stack) lines.push(error.stack);
  }
  return lines.join("\n");
}

/** Of a system error that names a file, the file and what is wrong: Node's own begins with the code and ends with the call. */
function plainMessage(error: unknown): string {
  const message = messageOf(error);
  const [, what, file] = /^E[A-Z0-9_]+: (.*), \w+ '(.*)'$/s.exec(message) ?? [];
  return what === undefined ? message : `${file}: ${what}`;
}

/** Messages may carry what another machine said: line breaks are joined, other control characters dropped. */
function oneLine(text: string): string {
  let line = "";
  for (const character of text.replace(/\s*\n\s*/g, "; "))
    if (character >= " " && character !== "\u007f") line += character;
  return line;
}
