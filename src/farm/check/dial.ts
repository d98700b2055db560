import { once } from "node:events";
import { createConnection } from "node:net";
import type { Duplex } from "node:stream";
import type { Shadow } from "../machines/shadow.ts";

/** Opens a TCP connection from where a check looks. */
export type Dial = (host: string, port: number, signal: AbortSignal) => Promise<Duplex>;

/** From this machine: what users outside would see. */
export const fromOutside: Dial = async (host, port, signal) => {
  const socket = createConnection({ host, port });
  try {
    await once(socket, "connect", { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
};

/** From inside a shadow: it resolves the name and it connects, through the SSH connection to it. */
export function fromInside(shadow: Shadow): Dial {
  return async (host, port, signal) => await (await shadow.connect(signal)).forward(host, port);
}
