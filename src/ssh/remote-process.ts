import type { Readable, Writable } from "node:stream";
import type { ClientChannel } from "ssh2";
import type { DoppelError } from "../errors.ts";

export interface RemoteExit {
  /** Null when a signal ended the command. */
  code: number | null;
  /** Such as SIGTERM. */
  signal: string | undefined;
}

const STDERR_TAIL_BYTES = 16 * 1024;

/** A command running on the other side of a connection. Reading stdout slowly slows the command down. */
export class RemoteProcess {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Rejects with `connection-lost` when the connection ends before the command does. */
  readonly exited: Promise<RemoteExit>;
  readonly #channel: ClientChannel;
  #stderr = Buffer.alloc(0);

  constructor(channel: ClientChannel, connection: { ended: Promise<void>; lost(): DoppelError }) {
    this.#channel = channel;
    this.stdin = channel;
    this.stdout = channel;
    channel.stderr.on("data", (chunk: Buffer) => {
      this.#stderr = Buffer.concat([this.#stderr, chunk]).subarray(-STDERR_TAIL_BYTES);
    });
    // A write after the other side has gone: `exited` tells what happened.
    channel.on("error", () => {});
    this.exited = new Promise((resolve, reject) => {
      channel.once("exit", (code: number | null, signal?: string) => resolve({ code, signal }));
      channel.once("close", () => reject(connection.lost()));
      void connection.ended.then(() => reject(connection.lost()));
    });
    this.exited.catch(() => {});
  }

  /** The last 16 KiB of standard error. */
  get stderrTail(): string {
    return this.#stderr.toString("utf8");
  }

  /** Sends SIGKILL, which servers may ignore, and closes the channel: the command's stdin and stdout are gone. */
  kill(): void {
    this.#channel.signal("KILL");
    this.#channel.close();
  }
}
