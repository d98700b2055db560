import type { Readable, Writable } from "node:stream";
import { execa } from "execa";
import { DoppelError } from "./errors.ts";

export interface RunOptions {
  /** Milliseconds after which the program is killed; default one minute. */
  timeoutMs?: number;
  signal?: AbortSignal;
  input?: string | Uint8Array;
  /** The file that standard input reads, instead of `input`: for what does not fit into memory. */
  inputFile?: string;
  /** The file that is written over with what it prints, by us: not every program says that its last bytes did not fit. */
  outputFile?: string;
  env?: Record<string, string>;
  cwd?: string;
  /** Where standard error goes instead of into the result: for a program that leaves a daemon behind, which keeps it open. */
  stderrTo?: "ignore" | { fd: number };
  /** Return the result instead of throwing when the program exits with another code than 0. */
  allowFailure?: boolean;
}

export interface RunBytesOptions {
  timeoutMs?: number;
  signal?: AbortSignal;
  input: Uint8Array;
  /** Most bytes of output; the program is stopped past them. */
  mostBytes: number;
}

const DEFAULT_TIMEOUT_MS = 60_000;

export interface RunResult {
  stdout: string;
  stderr: string;
  /** The exit code; -1 when a signal ended the program. */
  exitCode: number;
}

/**
 * Runs a program with an argument array, never through a shell: the one place where child processes start.
 *
 * Throws `program-missing` when it is not installed, `program-timeout` past the limit, and `program-failed`
 * with the last lines of its standard error when it exits with another code than 0.
 */
export async function runProgram(file: string, args: string[], options: RunOptions = {}): Promise<RunResult> {
  options.signal?.throwIfAborted();
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const result = await execa(file, args, {
    reject: false,
    timeout: timeoutMs,
    stdin:
      options.inputFile !== undefined
        ? { file: options.inputFile }
        : options.input === undefined
          ? "ignore"
          : "pipe",
    ...(options.outputFile === undefined
      ? {}
      : { stdout: { file: options.outputFile }, buffer: { stdout: false, stderr: true } }),
    ...(options.stderrTo === undefined ? {} : { stderr: stderrOption(options.stderrTo) }),
    ...(options.input === undefined ? {} : { input: options.input }),
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  options.signal?.throwIfAborted();
  // ENOENT may also speak of the folder.
  if (result.code !== "ENOENT" || options.cwd === undefined) requireEnd({ file, args, result }, timeoutMs);
  if (result.code === "ENOSPC")
    throw new DoppelError("ENOSPC", `no space left for what ${file} writes to ${options.outputFile}`);
  if (result.failed && options.allowFailure !== true) throw failed({ file, args, result });
  return { stdout: result.stdout ?? "", stderr: result.stderr ?? "", exitCode: result.exitCode ?? -1 };
}

/** A program that runs beside us. Reading its output slowly slows it down. */
export interface RunningProgram {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Rejects with `program-missing` when it is not installed; `code` is null when a signal ended it. */
  readonly exited: Promise<{ code: number | null; signal: string | undefined }>;
  /** The last 16 KiB of its standard error, unless that goes elsewhere. */
  readonly stderrTail: string;
  kill(): void;
}

export interface StartOptions {
  env?: Record<string, string>;
  /** Where standard error goes instead of into `stderrTail`. */
  stderrTo?: { fd: number };
}

const STDERR_TAIL_CHARACTERS = 16 * 1024;

/** What exec(3) and setpriv(1) end with when a program is not there. */
const NOT_FOUND = 127;

/**
 * As `startProgram`, for a server, which nothing on its standard input would tell that we were killed: the kernel kills it when
 * we end, however that comes.
 */
export function startServer(file: string, args: string[], options: StartOptions = {}): RunningProgram {
  const server = startProgram("setpriv", ["--pdeathsig", "KILL", file, ...args], options);
  const exited = server.exited.then((how) => {
    if (how.code === NOT_FOUND) throw missing(file);
    return how;
  });
  exited.catch(() => {});
  return {
    ...server,
    exited,
    get stderrTail() {
      return server.stderrTail;
    },
  };
}

/** Starts a program with an argument array; it ends when its standard input does, which is at the latest with us. */
export function startProgram(file: string, args: string[], options: StartOptions = {}): RunningProgram {
  const child = execa(file, args, {
    buffer: false,
    reject: false,
    stdin: "pipe",
    cleanup: true,
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.stderrTo === undefined ? {} : { stderr: stderrOption(options.stderrTo) }),
  });
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr = `${stderr}${chunk.toString("utf8")}`.slice(-STDERR_TAIL_CHARACTERS);
  });
  // A write after the program has ended: `exited` tells what happened.
  child.stdin.on("error", () => {});
  const exited = new Promise<{ code: number | null; signal: string | undefined }>((resolve, reject) => {
    child.once("error", (error: NodeJS.ErrnoException) =>
      reject(error.code === "ENOENT" ? missing(file) : error),
    );
    child.once("close", (code, signal) => resolve({ code, signal: signal ?? undefined }));
  });
  exited.catch(() => {});
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    exited,
    get stderrTail() {
      return stderr;
    },
    kill: () => void child.kill("SIGKILL"),
  };
}

/** execa takes a file descriptor for a single stream, but its types do not say so. */
function stderrOption(to: "ignore" | { fd: number }): "ignore" {
  return (to === "ignore" ? to : to.fd) as "ignore";
}

export interface PipedProgram {
  file: string;
  args: string[];
  env?: Record<string, string>;
}

/**
 * Runs two programs with the first one's output as the second one's input, never held in memory. Throws as `runProgram` does,
 * for whichever failed first in the pipe.
 */
export async function pipePrograms(
  from: PipedProgram,
  to: PipedProgram,
  options: { timeoutMs: number; signal?: AbortSignal },
): Promise<void> {
  options.signal?.throwIfAborted();
  const common = {
    reject: false,
    timeout: options.timeoutMs,
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
  } as const;
  const source = execa(from.file, from.args, {
    ...common,
    stdin: "ignore",
    buffer: { stdout: false },
    env: from.env ?? {},
  });
  const last = await source.pipe(to.file, to.args, { ...common, env: to.env ?? {} });
  const first = await source;
  options.signal?.throwIfAborted();
  const ends = [
    { ...from, result: first },
    { ...to, result: last },
  ] as const;
  for (const end of ends) requireEnd(end, options.timeoutMs);
  const broken = first.failed && first.code !== "EPIPE" ? ends[0] : ends[1];
  if (broken.result.failed) throw failed(broken);
}

/**
 * Runs a filter: bytes in, bytes out. Throws as `runProgram` does, `program-failed` also for more output than was allowed.
 */
export async function runProgramBytes(
  file: string,
  args: string[],
  options: RunBytesOptions,
): Promise<Buffer> {
  options.signal?.throwIfAborted();
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const result = await execa(file, args, {
    reject: false,
    encoding: "buffer",
    input: options.input,
    maxBuffer: options.mostBytes,
    timeout: timeoutMs,
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
  });
  options.signal?.throwIfAborted();
  requireEnd({ file, args, result }, timeoutMs);
  if (result.failed) throw failed({ file, args, result });
  const { buffer, byteOffset, byteLength } = result.stdout;
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** How a program ended, as execa tells it. */
interface ProgramEnd {
  file: string;
  args: readonly string[];
  result: {
    code?: string | undefined;
    exitCode?: number | undefined;
    timedOut: boolean;
    stderr?: unknown;
    shortMessage?: string | undefined;
  };
}

function requireEnd({ file, args, result }: ProgramEnd, timeoutMs: number): void {
  if (result.code === "ENOENT") throw missing(file);
  if (!result.timedOut) return;
  throw new DoppelError(
    "program-timeout",
    `${file} ${args[0] ?? ""} did not finish in ${timeoutMs / 1000} s`,
  );
}

function failed({ file, args, result }: ProgramEnd): DoppelError {
  const said =
    result.stderr instanceof Uint8Array ? Buffer.from(result.stderr).toString("utf8") : result.stderr;
  const lastLines = String(said ?? "")
    .trim()
    .split("\n")
    .slice(-4)
    .join("; ");
  return new DoppelError(
    "program-failed",
    `${file} ${args.slice(0, 2).join(" ")} failed: ${lastLines || result.shortMessage}`,
    { details: { file, exitCode: result.exitCode ?? -1 } },
  );
}

function missing(file: string): DoppelError {
  return new DoppelError("program-missing", `${file} is not installed`, {
    hint: "run 'doppel doctor' to see the package that has it",
  });
}
