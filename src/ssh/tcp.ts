import { connect, type Socket } from "node:net";
import { DoppelError, systemErrorCode } from "../errors.ts";
import type { HostSettings } from "./user-config.ts";

const REASONS: Record<string, string> = {
  ECONNREFUSED: "nothing listens there",
  ECONNRESET: "the connection was reset",
  EHOSTUNREACH: "there is no route to it",
  ENETUNREACH: "there is no route to its network",
  ENOTFOUND: "the name is not known",
  EAI_AGAIN: "the name server does not answer",
  ETIMEDOUT: "it does not answer",
};

/**
 * Opens a TCP connection within the host's connect timeout.
 *
 * Throws with the system's own code (ECONNREFUSED, ENOTFOUND, …), or `host-unreachable` after the timeout.
 */
export async function openSocket(host: HostSettings, signal?: AbortSignal): Promise<Socket> {
  signal?.throwIfAborted();
  const socket = connect({ host: host.hostname, port: host.port, noDelay: true });
  let stop: (() => void) | undefined;
  const timer = setTimeout(() => socket.destroy(unanswered(host)), host.connectTimeoutMs);
  try {
    await new Promise<void>((resolve, reject) => {
      stop = () => reject(signal?.reason);
      signal?.addEventListener("abort", stop, { once: true });
      socket.once("connect", resolve).once("error", reject);
    });
    return socket;
  } catch (error) {
    socket.destroy();
    signal?.throwIfAborted();
    throw error instanceof DoppelError ? error : unreachable(host, error);
  } finally {
    clearTimeout(timer);
    if (stop) signal?.removeEventListener("abort", stop);
    // What fails from here on belongs to whoever uses the socket; it must not find no listener before that.
    socket.removeAllListeners("error").on("error", () => {});
  }
}

/** The error for a host that a TCP connection, or a jump host's forwarding, does not reach. */
export function unreachable(host: HostSettings, cause: unknown, through = ""): DoppelError {
  const code = systemErrorCode(cause);
  const why =
    (code && REASONS[code]) ?? (cause instanceof Error && cause.message ? cause.message : String(code));
  return new DoppelError(
    code ?? "host-unreachable",
    `${host.hostname} port ${host.port} cannot be reached${through}: ${why}`,
    {
      hint: "check the name and port, that sshd runs there, and the firewalls in between",
      cause,
    },
  );
}

function unanswered(host: HostSettings): DoppelError {
  const seconds = host.connectTimeoutMs / 1000;
  return unreachable(host, new Error(`no answer within ${seconds} s`));
}
