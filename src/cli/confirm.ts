import { DoppelError, EXIT } from "../errors.ts";
import { terminalPrompt } from "../ssh/terminal-prompt.ts";

/** Has a person type a word before something is done that loses data. Without a terminal nobody is asked: `not-confirmed` (exit 3). */
export async function confirm(word: string, what: string, signal: AbortSignal): Promise<void> {
  const answer = await terminalPrompt({ text: `${what}: type ${word} to go on: `, hidden: false }, signal);
  if (answer?.trim() === word) return;
  throw new DoppelError("not-confirmed", `${what}: this was not confirmed, and nothing was done`, {
    hint: "add --yes when you have read what it loses",
    exitCode: EXIT.refused,
  });
}
