import { connect, type Socket } from "node:net";
import { DoppelError } from "../../../errors.ts";
import { unreachable } from "../failure.ts";

/** HAProxy's runtime API: one line of commands a connection, the answer ends with the connection (management guide, 9.3). */
export interface RuntimeSocket {
  /**
   * Sends commands, separated by `; `, and returns what they print. Throws with the system's code, or
   * `router-unreachable`, when nothing answers in time.
   */
  ask(commands: string, signal?: AbortSignal): Promise<string>;
}

const MOST_ANSWER_BYTES = 64 * 1024 * 1024;
const ANSWER_TIMEOUT_MS = 5000;

/**
 * The socket at `address`: a path, or `HOST:PORT`.
 *
 * Each call connects anew. A connection that is kept would go on talking to a worker that a reload has replaced.
 */
export function runtimeSocket(router: string, address: string, timeoutMs = ANSWER_TIMEOUT_MS): RuntimeSocket {
  return {
    async ask(commands, signal) {
      signal?.throwIfAborted();
      const socket = open(address);
      const stop = () => socket.destroy(signal?.reason);
      signal?.addEventListener("abort", stop, { once: true });
      socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
      try {
        socket.write(`${commands}\n`);
        return await readAnswer(socket, router);
      } catch (error) {
        signal?.throwIfAborted();
        throw error instanceof DoppelError ? error : unreachable(router, address, error);
      } finally {
        signal?.removeEventListener("abort", stop);
        socket.destroy();
      }
    },
  };
}

function open(address: string): Socket {
  if (address.startsWith("/")) return connect({ path: address });
  return connect({ ...hostAndPort(address), noDelay: true });
}

/** `HOST:PORT`, where an IPv6 address stands in brackets. */
export function hostAndPort(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  return { host, port: Number(address.slice(colon + 1)) };
}

/** All that is answered until the connection ends. Throws `router-answer` for more than anybody needs, ECONNRESET for a part. */
export async function readAnswer(socket: AsyncIterable<Buffer>, router: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of socket) {
    bytes += chunk.length;
    if (bytes > MOST_ANSWER_BYTES) {
      throw new DoppelError("router-answer", `${router} answered more than ${MOST_ANSWER_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  // A worker that dies in the middle of an answer ends it early; every whole one ends with an empty line.
  const answer = Buffer.concat(chunks).toString("utf8");
  if (!answer.endsWith("\n")) throw Object.assign(new Error("cut off"), { code: "ECONNRESET" });
  return answer;
}
