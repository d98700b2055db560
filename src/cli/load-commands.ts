import type { Command } from "commander";

/** Loads what a command is made of, and makes it; it may look at the words that follow its own. */
export type LoadCommands = (words: readonly string[]) => Promise<readonly Command[]>;

/**
 * The commands of a table that a command line needs: the one of its first word; all of them when there is none or it is none of
 * theirs, for help and for hints. Each is loaded when it is asked for: all together take longer to load than most take to run.
 */
export async function loadCommands(
  table: Readonly<Record<string, LoadCommands>>,
  words: readonly string[],
): Promise<Command[]> {
  const at = words.findIndex((text) => !text.startsWith("-"));
  const word = words[at] ?? "";
  const meant = Object.hasOwn(table, word) ? table[word] : undefined;
  const following = words.slice(at + 1);
  // Words whose commands are in one file have one loader.
  const loads = meant ? [meant] : new Set(Object.values(table));
  const loaded: Command[] = [];
  for (const load of loads) loaded.push(...(await load(meant ? following : [])));
  return loaded;
}
