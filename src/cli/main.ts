import { existsSync, readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { EXIT } from "../errors.ts";
import { loadCommand, saveCommand } from "./archive.ts";
import { bootTestCommand } from "./boot-test.ts";
import { captureCommand } from "./capture.ts";
import { convertCommand } from "./convert.ts";
import { doctorCommand } from "./doctor.ts";
import { exportCommand } from "./export.ts";
import { farmCommand } from "./farm.ts";
import { imagesCommand } from "./images.ts";
import { importCommand } from "./import.ts";
import { inspectCommand } from "./inspect.ts";
import { interruptSignal } from "./interrupt.ts";
import { discardCommand, thawCommand, vmsCommand } from "./machines.ts";
import { reportError } from "./report-error.ts";
import { serveCommand } from "./serve.ts";
import { pullCommand, pushCommand } from "./transfer.ts";

const SUBCOMMANDS = [
  doctorCommand,
  inspectCommand,
  captureCommand,
  convertCommand,
  bootTestCommand,
  exportCommand,
  importCommand,
  imagesCommand,
  pushCommand,
  pullCommand,
  saveCommand,
  loadCommand,
  serveCommand,
  thawCommand,
  vmsCommand,
  discardCommand,
  farmCommand,
];

/** Runs the command line and returns the exit code; errors are printed here, once. */
export async function main(argv: string[]): Promise<number> {
  const command = buildProgram();
  try {
    await command.parseAsync(argv);
    return typeof process.exitCode === "number" ? process.exitCode : EXIT.done;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    const verbose = command.opts().verbose === true;
    return reportError(error, { verbose, interrupted: interruptSignal().aborted });
  }
}

function buildProgram(): Command {
  const command = new Command("doppel")
    .description("Turns a running physical machine into an image, and images into running machines.")
    .version(packageVersion())
    .option("--verbose", "on an error, print the chain of its causes")
    .configureHelp({ showGlobalOptions: true });
  for (const subcommand of SUBCOMMANDS) command.addCommand(subcommand());
  return exitOverrideAll(command);
}

/** Commander would end the process by itself; an exception lets `main` map the exit code in one place. */
function exitOverrideAll(command: Command): Command {
  command.exitOverride();
  for (const subcommand of command.commands) exitOverrideAll(subcommand);
  return command;
}

/** From package.json: above src, and above dist/src once compiled. */
function packageVersion(): string {
  for (const path of ["../../package.json", "../../../package.json"]) {
    const file = new URL(path, import.meta.url);
    if (existsSync(file)) return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
  }
  return "unknown";
}
