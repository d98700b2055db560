import assert from "node:assert";

/**
 * Words as one command line of a POSIX shell. SSH carries a command as one string that the other side's login shell
 * reads: this is the only place where that string is made.
 */
export function quoteCommand(argv: readonly string[]): string {
  assert(argv.length > 0);
  return argv.map(quoteWord).join(" ");
}

function quoteWord(word: string): string {
  assert(!word.includes("\0"), "a word of a command line cannot hold NUL");
  if (/^[A-Za-z0-9_@%+:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
