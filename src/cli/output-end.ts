import { DoppelError, EXIT } from "../errors.ts";
import { interrupt } from "./interrupt.ts";
import { describeError } from "./report-error.ts";

let ended: DoppelError | undefined;

/**
 * Stops the command, as Ctrl-C does, when its standard output takes no more: quietly when its reader has gone, as `head` does
 * once it has its lines. Of standard error that is no reason to stop: what is said there is not what the command is for.
 */
export function stopWithoutOutput(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (ended) return;
    ended = endOf(error);
    // The last write may fail after `main` has returned.
    process.exitCode = ended.exitCode;
    if (ended.exitCode !== EXIT.unread) process.stderr.write(`${describeError(ended, false)}\n`);
    interrupt(ended);
  });
  process.stderr.on("error", () => {});
}

/** Why standard output takes no more, which has been said then; undefined while it does. */
export function outputEnd(): DoppelError | undefined {
  return ended;
}

function endOf(error: NodeJS.ErrnoException): DoppelError {
  const code = error.code ?? "unexpected";
  const exitCode = code === "EPIPE" ? EXIT.unread : EXIT.failed;
  return new DoppelError(code, `standard output: ${error.message}`, { exitCode, cause: error });
}
