import { once } from "node:events";
import { createConnection } from "node:net";
import type { Duplex } from "node:stream";
import type { Shadow } from "../machines/shadow.ts";

/** Opens a TCP connection from where a check looks; it does not outlive the signal. */
export type Dial = (host: string, port: number, signal: AbortSignal) => Promise<Duplex>;

/** From this machine: what users outside would see. */
export const fromOutside: Dial = async (host, port, signal) => {
  const socket = createConnection({ host, port });
  try {
    await once(socket, "connect", { signal });
    return endedBy(signal, socket);
  } catch (error) {
    socket.destroy();
    throw error;
  }
};

/** From inside a shadow: it resolves the name and it connects, through the SSH connection to it. */
export function fromInside(shadow: Shadow): Dial {
  return async (host, port, signal) => {
    const connection = await shadow.connect(signal);
    return endedBy(signal, await connection.forward(host, port));
  };
}

/** A connection that nobody waits for any more would keep the process alive as long as the other side says nothing. */
function endedBy(signal: AbortSignal, socket: Duplex): Duplex {
  const end = () => socket.destroy();
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  socket.once("close", () => signal.removeEventListener("abort", end));
  return socket;
}
