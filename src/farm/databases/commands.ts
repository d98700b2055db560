import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { makePrivateFolder, temporaryName } from "../../durable-file.ts";
import { DoppelError, EXIT, wrapError } from "../../errors.ts";
import { refuseExisting } from "../../output-file.ts";
import { runProgram } from "../../run-program.ts";
import { digestFile, publishCopy, syncFile } from "./copy-file.ts";

/** How a database of another kind is handled: programs of the user's, each with its words, run without a shell. */
export interface DatabaseCommands {
  /** Makes the test copy. */
  copy?: readonly string[] | undefined;
  /** Writes a safety copy to the file of DOPPEL_COPY_FILE. */
  safetyCopy?: readonly string[] | undefined;
  /** Restores DOPPEL_COPY_FILE to a scratch place and compares; exit code 0 when it is the same. */
  rehearse?: readonly string[] | undefined;
  /** Applies the file of DOPPEL_MIGRATION_FILE, to the copy or the live database by DOPPEL_TARGET; may be run again. */
  expand?: readonly string[] | undefined;
  /** Puts DOPPEL_COPY_FILE in the place of the live database. */
  restore?: readonly string[] | undefined;
}

/** A safety copy that a command wrote. */
export interface CommandCopy {
  file: string;
  bytes: number;
  sha256: string;
  seconds: number;
  rehearsal?: { seconds: number };
}

const DAY_MS = 24 * 3600 * 1000;

/** Runs the command `copy`. Throws `command-missing` (exit 3) where the farm file has none, as all of these do. */
export async function copyByCommand(commands: DatabaseCommands, signal?: AbortSignal): Promise<void> {
  await run(commands, "copy", {}, signal);
}

/** Has a safety copy written under a temporary name, syncs and renames it, and has its restore rehearsed. */
export async function safetyCopyByCommand(
  commands: DatabaseCommands,
  file: string,
  options: { rehearse?: boolean; signal?: AbortSignal } = {},
): Promise<CommandCopy> {
  await refuseExisting(file, false);
  await makePrivateFolder(dirname(file));
  const temporary = temporaryName(file);
  const started = performance.now();
  try {
    await run(commands, "safetyCopy", { DOPPEL_COPY_FILE: temporary }, options.signal);
    await syncFile(temporary);
    const copy: CommandCopy = {
      file,
      ...(await digestFile(temporary)),
      seconds: secondsSince(started),
    };
    if (options.rehearse !== false) {
      const rehearsing = performance.now();
      await run(commands, "rehearse", { DOPPEL_COPY_FILE: temporary }, options.signal);
      copy.rehearsal = { seconds: secondsSince(rehearsing) };
    }
    await publishCopy(temporary, file);
    return copy;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Runs `expand` on the copy or the live database. Its file is not judged: nobody here knows its language. */
export async function expandByCommand(
  commands: DatabaseCommands,
  migrationFile: string,
  target: "copy" | "live",
  signal?: AbortSignal,
): Promise<void> {
  await run(commands, "expand", { DOPPEL_MIGRATION_FILE: migrationFile, DOPPEL_TARGET: target }, signal);
}

/** Runs `restore`, after the copy's digest was compared (`copy-corrupt`, exit 4). */
export async function restoreByCommand(
  commands: DatabaseCommands,
  copy: CommandCopy,
  signal?: AbortSignal,
): Promise<void> {
  const found = await digestFile(copy.file).catch(() => undefined);
  if (found?.sha256 !== copy.sha256) {
    throw new DoppelError("copy-corrupt", `the safety copy ${copy.file} is gone or not what was written`, {
      hint: "it is not used; look for another copy",
      exitCode: EXIT.different,
    });
  }
  await run(commands, "restore", { DOPPEL_COPY_FILE: copy.file }, signal);
}

async function run(
  commands: DatabaseCommands,
  step: keyof DatabaseCommands,
  env: Record<string, string>,
  signal?: AbortSignal,
): Promise<void> {
  const [program, ...args] = commands[step] ?? [];
  if (program === undefined) {
    throw new DoppelError("command-missing", `the farm file has no command '${step}' for this database`, {
      hint: `add commands.${step}`,
      exitCode: EXIT.refused,
    });
  }
  const options = { env, timeoutMs: DAY_MS, ...(signal === undefined ? {} : { signal }) };
  await runProgram(program, args, options).catch((error: unknown) => {
    throw wrapError(error, "program-failed", `the command '${step}' of the database failed`);
  });
}

function secondsSince(started: number): number {
  return Math.round(performance.now() - started) / 1000;
}
