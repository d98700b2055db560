import type { SshConnection } from "../../ssh/connection.ts";
import { unlessAborted } from "../engine/unless-aborted.ts";

/** A machine that commands can be run in. */
export interface Reachable {
  readonly name: string;
  /** A connection to it, opened when there is none. Its host key is verified; nobody is asked for anything. */
  connect(signal: AbortSignal): Promise<SshConnection>;
}

/** At most one connection, which all who ask share; one that ended is opened anew. */
export class SharedConnection implements AsyncDisposable {
  readonly #open: (signal: AbortSignal) => Promise<SshConnection>;
  /** Not a caller's signal: others wait for the same connection. */
  readonly #disposed = new AbortController();
  #connection: Promise<SshConnection> | undefined;

  constructor(open: (signal: AbortSignal) => Promise<SshConnection>) {
    this.#open = open;
  }

  async connect(signal: AbortSignal): Promise<SshConnection> {
    signal.throwIfAborted();
    this.#connection ??= this.#openNew();
    return await unlessAborted(this.#connection, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    const connection = await this.#connection?.catch(() => undefined);
    await connection?.close();
  }

  #openNew(): Promise<SshConnection> {
    const opened = this.#open(this.#disposed.signal);
    opened.then(
      ({ ended }) => ended.then(() => this.#forget(opened)),
      () => this.#forget(opened),
    );
    return opened;
  }

  #forget(connection: Promise<SshConnection>): void {
    if (this.#connection === connection) this.#connection = undefined;
  }
}
