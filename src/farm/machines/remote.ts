import { randomBytes } from "node:crypto";
import { posix } from "node:path";
import { DoppelError } from "../../errors.ts";
import type { RunResult, SshConnection } from "../../ssh/connection.ts";
import type { Reachable } from "./shared-connection.ts";

/** How much longer we wait than the machine's own `timeout`, which ends the command there. */
const GRACE_MS = 10_000;
/** Exit codes of timeout(1): at its limit, and after it had to kill. */
const TIMED_OUT = [124, 137];

/**
 * Runs a command in a machine, ended there after `timeoutMs` by timeout(1): a closed connection would leave it running.
 * `input` is its standard input. Throws `remote-timeout`.
 */
export async function runRemote(
  connection: SshConnection,
  argv: readonly string[],
  timeoutMs: number,
  signal: AbortSignal,
  input?: string,
): Promise<RunResult> {
  const limited = ["timeout", "-k", "5", String(Math.max(1, Math.ceil(timeoutMs / 1000))), ...argv];
  const result = await connection.run(limited, {
    timeoutMs: timeoutMs + GRACE_MS,
    signal,
    ...(input === undefined ? {} : { input }),
  });
  if (!TIMED_OUT.includes(result.code)) return result;
  throw new DoppelError(
    "remote-timeout",
    `${argv[0]} on ${connection.name} did not finish in ${timeoutMs / 1000} s`,
  );
}

/** As `runRemote`, for a command that must end with 0; `remote-failed` has its last words. */
export async function mustRemote(
  connection: SshConnection,
  argv: readonly string[],
  timeoutMs: number,
  signal: AbortSignal,
  input?: string,
): Promise<RunResult> {
  const result = await runRemote(connection, argv, timeoutMs, signal, input);
  if (result.code === 0) return result;
  const words = (result.stderr.trim() || result.stdout.trim()).split("\n").slice(-4).join("; ");
  throw new DoppelError(
    "remote-failed",
    `${argv[0]} on ${connection.name} ended with ${result.code}: ${words}`,
    {
      details: { exitCode: result.code },
    },
  );
}

const SHORT_MS = 30_000;

/** Runs a short command on a machine and returns what it prints; as `mustRemote`, over a connection that is opened when there is none. */
export async function askMachine(
  machine: Reachable,
  argv: readonly string[],
  input?: string,
): Promise<string> {
  const signal = AbortSignal.timeout(SHORT_MS);
  return (await mustRemote(await machine.connect(signal), argv, SHORT_MS, signal, input)).stdout;
}

/** Puts a file in its place whole: a temporary name beside it, then a rename. Makes its folder. */
export async function putFile(
  connection: SshConnection,
  path: string,
  content: Buffer,
  mode: string,
  signal: AbortSignal,
): Promise<void> {
  const temporary = `${path}.doppel-${randomBytes(6).toString("hex")}`;
  await mustRemote(connection, ["mkdir", "-p", "--", posix.dirname(path)], SHORT_MS, signal);
  await using sftp = await connection.sftp();
  try {
    await sftp.writeNew(temporary, content, Number.parseInt(mode, 8));
    await mustRemote(connection, ["mv", "-f", "--", temporary, path], SHORT_MS, signal);
  } catch (error) {
    await sftp.unlink(temporary).catch(() => {});
    throw error;
  }
}

/** The SHA-256 and mode of a file, or undefined when there is none. */
export async function fileState(
  connection: SshConnection,
  path: string,
  signal: AbortSignal,
): Promise<{ sha256: string; mode: string } | undefined> {
  const sum = await runRemote(connection, ["sha256sum", "--", path], SHORT_MS, signal);
  if (sum.code !== 0) return undefined;
  const { stdout } = await mustRemote(connection, ["stat", "-c", "%a", "--", path], SHORT_MS, signal);
  return { sha256: /^\\?([0-9a-f]{64})/.exec(sum.stdout)?.[1] ?? "", mode: stdout.trim().padStart(4, "0") };
}

/** A folder of one's own in the machine's memory or temporary files, gone afterwards. */
export async function remoteFolder(
  connection: SshConnection,
  signal: AbortSignal,
): Promise<AsyncDisposable & { path: string }> {
  const { stdout } = await mustRemote(connection, ["mktemp", "-d"], SHORT_MS, signal);
  const path = stdout.trim();
  if (!path.startsWith("/"))
    throw new DoppelError("remote-failed", `mktemp on ${connection.name} said ${path}`);
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      await connection.run(["rm", "-rf", "--", path]).catch(() => {});
    },
  };
}
