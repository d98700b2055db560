import type { Socket } from "node:net";

/** Reads exact numbers of bytes from a socket, with its back-pressure. One read at a time. */
export class SocketReader {
  readonly #socket: Socket;
  #ended = false;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.#socket = socket;
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    // One listener for good: adding one while bytes are waiting emits the event again, for ever.
    socket.on("readable", () => this.#wake());
    socket.on("end", end);
    socket.on("close", end);
  }

  /** The next `count` bytes; undefined when the connection ends before they have come. */
  async read(count: number): Promise<Buffer | undefined> {
    if (count === 0) return Buffer.alloc(0);
    for (;;) {
      const bytes = this.#socket.read(count) as Buffer | null;
      if (bytes !== null) return bytes.length === count ? bytes : undefined;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
