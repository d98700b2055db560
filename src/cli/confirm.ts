import { DoppelError, EXIT } from "../errors.ts";
import { terminalPrompt } from "../ssh/terminal-prompt.ts";

/**
 * Has a person type a word before something is done that cannot be undone; `what` says what, as a sentence does. Without a terminal
 * nobody is asked: `not-confirmed` (exit 3).
 */
export async function confirm(word: string, what: string, signal: AbortSignal): Promise<void> {
  const answer = await terminalPrompt({ text: `${what}: type ${word} to go on: `, hidden: false }, signal);
  if (answer?.trim() === word) return;
  throw new DoppelError("not-confirmed", `${what}: this was not confirmed, and nothing was done`, {
    hint: answer === undefined ? "without a terminal say --yes" : `type ${word}, or say --yes`,
    exitCode: EXIT.refused,
  });
}
