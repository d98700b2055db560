import { Command } from "commander";
import { listCommand } from "./images-ls.ts";
import { type LoadCommands, loadCommands } from "./load-commands.ts";

const tag: LoadCommands = async () => (await import("./images-tag.ts")).tagCommands();
const clean: LoadCommands = async () => (await import("./images-clean.ts")).cleaningCommands();
const name: LoadCommands = async () => (await import("./images-names.ts")).nameCommands();
const sign: LoadCommands = async () => (await import("./images-sign.ts")).signCommands();

const SUBCOMMANDS: Record<string, LoadCommands> = {
  // It is always there: what names none of the others is meant for it.
  ls: async () => [],
  show: async () => [(await import("./images-show.ts")).showCommand()],
  diff: async () => [(await import("./images-diff.ts")).diffCommand()],
  tag,
  untag: tag,
  verify: async () => [(await import("./images-verify.ts")).verifyCommand()],
  repair: async () => [(await import("./images-repair.ts")).repairCommand()],
  rm: clean,
  gc: clean,
  prune: async () => [(await import("./images-prune.ts")).pruneCommand()],
  compact: async () => [(await import("./images-compact.ts")).compactCommand()],
  label: name,
  channel: name,
  promote: name,
  keygen: sign,
  sign,
  signatures: sign,
  revoke: async () => [(await import("./images-revoke.ts")).revokeCommand()],
};

/** `doppel images …`: what the store holds. */
export async function imagesCommand(words: readonly string[]): Promise<Command> {
  const command = new Command("images").description("the images on this machine");
  command.addCommand(listCommand(), { isDefault: true });
  for (const one of await loadCommands(SUBCOMMANDS, words)) command.addCommand(one);
  return command;
}
