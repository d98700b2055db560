import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { EXIT } from "../errors.ts";
import { packageRoot } from "../package-root.ts";
import { interruptSignal } from "./interrupt.ts";
import { type LoadCommands, loadCommands } from "./load-commands.ts";
import { outputEnd, stopWithoutOutput } from "./output-end.ts";
import { reportError } from "./report-error.ts";

const SUBCOMMANDS: Record<string, LoadCommands> = {
  doctor: async () => [(await import("./doctor.ts")).doctorCommand()],
  inspect: async () => [(await import("./inspect.ts")).inspectCommand()],
  capture: async () => [(await import("./capture.ts")).captureCommand()],
  convert: async () => [(await import("./convert.ts")).convertCommand()],
  "boot-test": async () => [(await import("./boot-test.ts")).bootTestCommand()],
  export: async () => [(await import("./export.ts")).exportCommand()],
  import: async () => [(await import("./import.ts")).importCommand()],
  images: async (words) => [await (await import("./images.ts")).imagesCommand(words)],
  push: async () => [(await import("./transfer.ts")).pushCommand()],
  pull: async () => [(await import("./transfer.ts")).pullCommand()],
  save: async () => [(await import("./archive.ts")).saveCommand()],
  load: async () => [(await import("./archive.ts")).loadCommand()],
  serve: async () => [(await import("./serve.ts")).serveCommand()],
  thaw: async () => [(await import("./machines.ts")).thawCommand()],
  vms: async () => [(await import("./machines.ts")).vmsCommand()],
  discard: async () => [(await import("./machines.ts")).discardCommand()],
  farm: async () => [(await import("./farm.ts")).farmCommand()],
};

/** Runs the command line and returns the exit code; errors are printed here, once. */
export async function main(argv: string[]): Promise<number> {
  stopWithoutOutput();
  const command = await buildProgram(argv);
  try {
    await command.parseAsync(argv);
    return typeof process.exitCode === "number" ? process.exitCode : EXIT.done;
  } catch (error) {
    const end = outputEnd();
    if (end) return end.exitCode;
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    const verbose = command.opts().verbose === true;
    return reportError(error, { verbose, interrupted: interruptSignal().aborted });
  }
}

async function buildProgram(argv: readonly string[]): Promise<Command> {
  const command = new Command("doppel")
    .description("Turns a running physical machine into an image, and images into running machines.")
    .version(packageVersion())
    .option("--verbose", "on an error, print the chain of its causes")
    .configureHelp({ showGlobalOptions: true });
  for (const one of await loadCommands(SUBCOMMANDS, argv.slice(2))) command.addCommand(one);
  return exitOverrideAll(command);
}

/** Commander would end the process by itself; an exception lets `main` map the exit code in one place. */
function exitOverrideAll(command: Command): Command {
  command.exitOverride();
  for (const subcommand of command.commands) exitOverrideAll(subcommand);
  return command;
}

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as {
    version: string;
  };
  return version;
}
