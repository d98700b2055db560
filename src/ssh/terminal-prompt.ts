import { openSync, writeSync } from "node:fs";
import { ReadStream } from "node:tty";
import { DoppelError, EXIT, systemErrorCode } from "../errors.ts";

/** Asks a person; undefined when there is nobody to ask. `hidden` answers are not shown while they are typed. */
export type Prompt = (
  question: { text: string; hidden: boolean },
  signal?: AbortSignal,
) => Promise<string | undefined>;

/**
 * Asks on the controlling terminal, not on stdin, which may carry data. Throws `interrupted` on Ctrl-C, and the
 * signal's reason when it aborts; the terminal echoes again in any case.
 *
 * Secrets come from here alone: never from arguments, the environment or a file.
 */
export const terminalPrompt: Prompt = async ({ text, hidden }, signal) => {
  signal?.throwIfAborted();
  const terminal = openTerminal();
  if (terminal === undefined) return undefined;
  const input = new ReadStream(terminal);
  // Echo first: a destroyed stream no longer reaches its terminal.
  const stop = () => {
    if (hidden) input.setRawMode(false);
    input.destroy();
  };
  signal?.addEventListener("abort", stop, { once: true });
  try {
    // Before the question is shown, so that a fast answer is not echoed.
    if (hidden) input.setRawMode(true);
    writeSync(terminal, printable(text));
    const answer = await readLine(input);
    if (hidden) writeSync(terminal, "\n");
    return answer;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
    if (!input.destroyed) stop();
  }
};

function openTerminal(): number | undefined {
  try {
    return openSync("/dev/tty", "r+");
  } catch (error) {
    if (["ENXIO", "ENOENT", "EACCES", "ENOTTY", "EIO"].includes(systemErrorCode(error) ?? ""))
      return undefined;
    throw error;
  }
}

/** Reads up to Enter. In raw mode the terminal edits nothing: erasing and interrupting are done here. */
async function readLine(input: ReadStream): Promise<string> {
  let line = "";
  for await (const chunk of input) {
    for (const character of String(chunk)) {
      if (character === "\r" || character === "\n") return line;
      if (character === "\u0003") throw interrupted();
      if (character === "\u0004") return line;
      if (character === "\u007f" || character === "\b") line = Array.from(line).slice(0, -1).join("");
      else if (character === "\u0015") line = "";
      else line += character;
    }
  }
  return line;
}

/** A server writes some of the questions: nothing that steers the terminal passes. */
function printable(text: string): string {
  return text.replace(/[^\P{C}\n]/gu, "");
}

function interrupted(): DoppelError {
  return new DoppelError("interrupted", "interrupted at a prompt", { exitCode: EXIT.interrupted });
}
