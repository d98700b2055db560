import type { SshConnection } from "../../ssh/connection.ts";

/** A machine that commands can be run in. */
export interface Reachable {
  readonly name: string;
  /** A connection to it, opened when there is none. Its host key is verified; nobody is asked for anything. */
  connect(signal: AbortSignal): Promise<SshConnection>;
}

/** At most one connection, which all who ask share; one that ended is opened anew. */
export class SharedConnection implements AsyncDisposable {
  readonly #open: (signal: AbortSignal) => Promise<SshConnection>;
  #connection: Promise<SshConnection> | undefined;

  constructor(open: (signal: AbortSignal) => Promise<SshConnection>) {
    this.#open = open;
  }

  async connect(signal: AbortSignal): Promise<SshConnection> {
    signal.throwIfAborted();
    this.#connection ??= this.#open(signal);
    const connection = this.#connection;
    try {
      const open = await connection;
      void open.ended.then(() => this.#forget(connection));
      return open;
    } catch (error) {
      this.#forget(connection);
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const connection = await this.#connection?.catch(() => undefined);
    await connection?.close();
  }

  #forget(connection: Promise<SshConnection>): void {
    if (this.#connection === connection) this.#connection = undefined;
  }
}
