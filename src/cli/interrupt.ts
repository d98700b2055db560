import { DoppelError, EXIT } from "../errors.ts";

let controller: AbortController | undefined;

/**
 * The signal that Ctrl-C, SIGTERM, a closed terminal and a standard output that nobody reads abort. The first one stops
 * cleanly; a second one ends the process at once.
 */
export function interruptSignal(): AbortSignal {
  return interruption().signal;
}

/** Stops the command as Ctrl-C does. */
export function interrupt(reason: DoppelError): void {
  interruption().abort(reason);
}

function interruption(): AbortController {
  if (controller) return controller;
  const created = new AbortController();
  controller = created;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      if (created.signal.aborted) process.exit(EXIT.interrupted);
      created.abort(new DoppelError("interrupted", `interrupted by ${name}`, { exitCode: EXIT.interrupted }));
    });
  }
  return created;
}
