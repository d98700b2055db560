import { DoppelError, EXIT } from "../errors.ts";

let controller: AbortController | undefined;

/**
 * The signal that Ctrl-C, SIGTERM and a closed terminal abort. The first one stops cleanly; a second one ends
 * the process at once.
 */
export function interruptSignal(): AbortSignal {
  if (controller) return controller.signal;
  const created = new AbortController();
  controller = created;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      if (created.signal.aborted) process.exit(EXIT.interrupted);
      created.abort(new DoppelError("interrupted", `interrupted by ${name}`, { exitCode: EXIT.interrupted }));
    });
  }
  return created.signal;
}
