import { DoppelError, EXIT, messageOf, systemErrorCode } from "../../errors.ts";
import type { Ability, Problem } from "./router.ts";

const REASONS: Record<string, string> = {
  ENOENT: "there is no such socket: it does not run, or its configuration has another one",
  ECONNREFUSED: "nothing listens there: it does not run",
  ECONNRESET: "the connection was reset: it has just ended",
  EPIPE: "the connection was closed: it has just ended",
  EACCES: "this user may not",
};

/** A router that does not answer, which may pass: it restarts, or is being reloaded. */
export function unreachable(router: string, address: string, cause: unknown): DoppelError {
  const code = systemErrorCode(cause);
  const why = (code && REASONS[code]) ?? (cause instanceof Error ? cause.message : String(cause));
  return new DoppelError(code ?? "router-unreachable", `${router}: ${address} cannot be asked: ${why}`, {
    hint: "start the router, or correct its address in the farm file",
    cause,
    details: { unreachable: code !== "EACCES" },
  });
}

/** True for a failure that may pass by itself when the router is back. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof DoppelError && error.details?.unreachable === true;
}

/** A pre-flight check of a router that failed: nothing has been changed. */
export function refused(router: string, code: string, message: string, hint: string): DoppelError {
  return new DoppelError(code, `${router}: ${message}`, { hint, exitCode: EXIT.refused });
}

export function cannot(router: string, ability: Ability, hint: string): DoppelError {
  return new DoppelError("router-cannot", `${router} has no ${ability}`, { hint, exitCode: EXIT.refused });
}

/** A change whose end could not be shown in time. */
export function unsettled(router: string, wanted: string, found: string, cause?: unknown): DoppelError {
  const why = cause instanceof Error ? `: ${cause.message}` : "";
  return new DoppelError("router-unsettled", `${router} should do (${wanted}) and does (${found})${why}`, {
    hint: "look at the router, then resume or roll back: both make what it does and what it has on disk the same",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** A failure as data. */
export function problemOf(error: unknown): Problem {
  if (error instanceof DoppelError) return { code: error.code, message: error.message };
  const message = messageOf(error);
  return { code: systemErrorCode(error) ?? "unexpected", message };
}
