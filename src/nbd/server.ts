import { chmod, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { DoppelError, EXIT, systemErrorCode } from "../errors.ts";
import type { BlockExport } from "./block-export.ts";
import { handshake } from "./handshake.ts";
import { SocketReader } from "./socket-reader.ts";
import { transmit } from "./transmission.ts";

export interface NbdServerOptions {
  /** Path of the Unix socket; it must not be there. */
  socketPath: string;
  /** The first one also answers to the empty name. */
  exports: readonly BlockExport[];
  /** Hears of requests that failed because of us or of our disks; the client gets EIO. */
  onFailure?: (error: unknown) => void;
}

/**
 * Serves disks by the NBD protocol on a Unix socket that only its owner can open. Any number of connections; what one
 * has written the others read.
 */
export class NbdServer implements AsyncDisposable {
  readonly socketPath: string;
  readonly #server: Server;
  readonly #connections = new Map<Socket, Promise<void>>();

  private constructor(socketPath: string, server: Server) {
    this.socketPath = socketPath;
    this.#server = server;
  }

  /** Starts to listen. Throws `socket-taken` (exit 3) when the path is there. */
  static async start(options: NbdServerOptions): Promise<NbdServer> {
    const server = createServer();
    const nbd = new NbdServer(options.socketPath, server);
    server.on("connection", (socket) => nbd.#accept(socket, options));
    // No moment at which others could open the socket.
    const mask = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(options.socketPath, resolve);
      });
    } catch (error) {
      if (systemErrorCode(error) !== "EADDRINUSE") throw error;
      throw new DoppelError("socket-taken", `${options.socketPath} is there already`, {
        hint: "another server may use it: choose another one with --socket, or remove it",
        exitCode: EXIT.refused,
      });
    } finally {
      process.umask(mask);
    }
    await chmod(options.socketPath, 0o600);
    return nbd;
  }

  /** Ends every connection once its running requests are answered, and removes the socket. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#connections.keys()) socket.destroy();
    await Promise.allSettled(this.#connections.values());
    await closed;
    await rm(this.socketPath, { force: true });
  }

  #accept(socket: Socket, options: NbdServerOptions): void {
    const serving = serve(socket, options)
      .catch((error: unknown) => options.onFailure?.(error))
      .finally(() => {
        // What the client still sends is not read: without the end of both directions the socket would stay.
        socket.end(() => socket.destroy());
        this.#connections.delete(socket);
      });
    this.#connections.set(socket, serving);
  }
}

async function serve(socket: Socket, { exports, onFailure }: NbdServerOptions): Promise<void> {
  // Without a listener a client that goes away would end the process.
  socket.on("error", () => {});
  const reader = new SocketReader(socket);
  const session = await handshake(socket, reader, exports);
  if (session) await transmit(socket, reader, session, onFailure ?? (() => {}));
}
