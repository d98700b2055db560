/** Exit codes of the command line, a contract with scripts and pipelines. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  different: 4,
  interrupted: 130,
  /** What a shell says of a program that SIGPIPE ended. */
  unread: 141,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface DoppelErrorOptions {
  /** What to do about it: one sentence, with the command where there is one. */
  hint?: string;
  exitCode?: ExitCode;
  cause?: unknown;
  /** Values a program may want (`--json`), never anything secret. */
  details?: Record<string, unknown>;
}

/**
 * An error of the outside world: a host, a disk, a file, a user's words.
 *
 * `code` is stable and has a row in docs/errors.md. The code of a system error is kept (ENOSPC stays ENOSPC).
 */
export class DoppelError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly exitCode: ExitCode;
  readonly details: Record<string, unknown> | undefined;

  constructor(code: string, message: string, options: DoppelErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "DoppelError";
    this.code = code;
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? EXIT.failed;
    this.details = options.details;
  }
}

/** What an error says; anything may be thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The code of a system error such as ENOSPC, or undefined when `error` is not one. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" && /^E[A-Z0-9_]+$/.test(error.code) ? error.code : undefined;
}

/**
 * Adds context to a failure: keeps a DoppelError's own code, hint and exit code, and a system error's code;
 * anything else becomes `fallbackCode`.
 */
export function wrapError(error: unknown, fallbackCode: string, context: string, hint?: string): DoppelError {
  const cause = error instanceof Error ? error : new Error(String(error));
  const message = `${context}: ${cause.message}`;
  if (cause instanceof DoppelError) {
    const chosenHint = cause.hint ?? hint;
    return new DoppelError(cause.code, message, {
      exitCode: cause.exitCode,
      cause,
      ...(chosenHint === undefined ? {} : { hint: chosenHint }),
      ...(cause.details === undefined ? {} : { details: cause.details }),
    });
  }
  return new DoppelError(systemErrorCode(cause) ?? fallbackCode, message, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** An AbortError carries its reason in `cause`; the reason itself is what the user should read. */
export function abortReason(error: unknown): unknown {
  if (error instanceof Error && error.name === "AbortError" && error.cause !== undefined) return error.cause;
  return error;
}
