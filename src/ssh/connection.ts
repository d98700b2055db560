import type { Duplex } from "node:stream";
import type { Client, ClientChannel } from "ssh2";
import { DoppelError } from "../errors.ts";
import { quoteCommand } from "./quote.ts";
import { RemoteProcess } from "./remote-process.ts";
import { SftpSession } from "./sftp.ts";
import type { HostSettings } from "./user-config.ts";
import { widenWindow } from "./wide-window.ts";

export interface RunOptions {
  input?: string | Buffer;
  /** Default: 30,000. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

export interface RunResult {
  stdout: string;
  stderr: string;
  /** The exit code; -1 when a signal ended the command. */
  code: number;
}

const MOST_OUTPUT_BYTES = 4 * 1024 * 1024;
const CLOSE_MS = 2000;

/** A ready SSH connection. Closing it closes those to its jump hosts too. */
export class SshConnection implements AsyncDisposable {
  readonly host: HostSettings;
  readonly #clients: readonly Client[];
  readonly #client: Client;
  readonly #ended: Promise<void>;
  #closing = false;
  #failure: Error | undefined;

  /** `clients` are the connections to the jump hosts in order, and last the one to `host`. */
  constructor(clients: readonly Client[], host: HostSettings) {
    const client = clients.at(-1);
    if (client === undefined) throw new RangeError("a connection has at least one client");
    this.#clients = clients;
    this.#client = client;
    this.host = host;
    for (const one of clients) one.on("error", (error) => (this.#failure ??= error));
    this.#ended = new Promise((resolve) => client.once("close", () => resolve()));
  }

  /** `user@host`, for messages. */
  get name(): string {
    return `${this.host.user}@${this.host.name}`;
  }

  /** Resolves when the connection has ended, for whatever reason. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** The error `connection-lost`, with what is known about why. */
  lost(): DoppelError {
    const why = this.#closing ? "it was closed" : (this.#failure?.message ?? "the other side closed it");
    return new DoppelError("connection-lost", `the connection to ${this.name} was lost: ${why}`, {
      hint: "run the same command again",
      ...(this.#failure === undefined ? {} : { cause: this.#failure }),
    });
  }

  /**
   * Starts a command; each word reaches the program unchanged. `sendsMuch`: its output may be far ahead of its reader.
   * Throws `connection-lost` or `remote-exec`.
   */
  async exec(argv: readonly string[], options: { sendsMuch?: boolean } = {}): Promise<RemoteProcess> {
    return await new Promise<RemoteProcess>((resolve, reject) => {
      const opened = (error: Error | undefined, channel: ClientChannel) => {
        if (error) return reject(error);
        // Here and now: the end of a short command may be in the same packet, and its events would pass unheard.
        resolve(new RemoteProcess(channel, this));
        if (options.sendsMuch) widenWindow(channel);
      };
      this.#whileConnected(() => this.#client.exec(quoteCommand(argv), opened));
      void this.#ended.then(() => reject(this.lost()));
    }).catch((cause: unknown) => {
      if (cause instanceof DoppelError) throw cause;
      throw new DoppelError("remote-exec", `${this.name} did not start ${argv[0]}`, { cause });
    });
  }

  /** Runs a command to its end and returns its output, at most 4 MiB. Throws `connection-lost`, `remote-timeout`. */
  async run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const timeoutMs = options.timeoutMs ?? 30_000;
    options.signal?.throwIfAborted();
    const limit = AbortSignal.timeout(timeoutMs);
    const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
    const remote = await this.exec(argv);
    let stop = () => {};
    const stopped = new Promise<never>((_, reject) => {
      stop = () => {
        remote.kill();
        reject(limit.aborted ? this.#timedOut(argv, timeoutMs) : signal.reason);
      };
      signal.addEventListener("abort", stop, { once: true });
    });
    try {
      remote.stdin.end(options.input);
      const stdout = await Promise.race([readAll(remote, argv), stopped]);
      const { code } = await Promise.race([remote.exited, stopped]);
      return { stdout, stderr: remote.stderrTail, code: code ?? -1 };
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  /**
   * Opens a TCP connection that begins on the other side: the name is resolved there, and it is that machine which
   * connects. Throws `forward-refused` with the other side's reason, or `connection-lost`.
   */
  async forward(hostname: string, port: number): Promise<Duplex> {
    return await this.#forwardTo(`${hostname} port ${port}`, (opened) =>
      this.#client.forwardOut("127.0.0.1", 0, hostname, port, opened),
    );
  }

  /** Opens a connection to a Unix socket of the other side; throws as `forward` does. */
  async forwardToSocket(path: string): Promise<Duplex> {
    return await this.#forwardTo(path, (opened) => this.#client.openssh_forwardOutStreamLocal(path, opened));
  }

  async #forwardTo(
    where: string,
    open: (opened: (error: Error | undefined, stream: ClientChannel) => void) => void,
  ): Promise<Duplex> {
    return await new Promise<Duplex>((resolve, reject) => {
      this.#whileConnected(() => open((error, stream) => (error ? reject(error) : resolve(stream))));
      void this.#ended.then(() => reject(this.lost()));
    }).catch((cause: unknown) => {
      if (cause instanceof DoppelError) throw cause;
      const why =
        cause instanceof Error ? cause.message.replace(/^.*Channel open failure: /, "") : String(cause);
      throw new DoppelError("forward-refused", `${this.name} cannot connect to ${where}: ${why}`, { cause });
    });
  }

  /** Opens a session for files. Throws `sftp-unavailable` when the server has none. */
  async sftp(): Promise<SftpSession> {
    const wrapper = await new Promise<Parameters<typeof SftpSession.over>[0]>((resolve, reject) => {
      this.#whileConnected(() =>
        this.#client.sftp((error, opened) => (error ? reject(error) : resolve(opened))),
      );
      void this.#ended.then(() => reject(this.lost()));
    }).catch((cause: unknown) => {
      if (cause instanceof DoppelError) throw cause;
      throw new DoppelError("sftp-unavailable", `${this.name} offers no SFTP`, {
        hint: "its sshd_config needs a line 'Subsystem sftp internal-sftp'",
        cause,
      });
    });
    return SftpSession.over(wrapper, this.name, this.#ended);
  }

  /** Ends the connection, politely at first. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const client of [...this.#clients].reverse()) client.end();
    const timer = setTimeout(() => this.#clients.forEach((client) => void client.destroy()), CLOSE_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** ssh2 throws a bare Error when the connection has ended. */
  #whileConnected(call: () => void): void {
    try {
      call();
    } catch (error) {
      throw error instanceof Error && error.message === "Not connected" ? this.lost() : error;
    }
  }

  #timedOut(argv: readonly string[], milliseconds: number): DoppelError {
    return new DoppelError(
      "remote-timeout",
      `${argv[0]} on ${this.name} did not finish in ${milliseconds / 1000} s`,
    );
  }
}

async function readAll(remote: RemoteProcess, argv: readonly string[]): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of remote.stdout as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MOST_OUTPUT_BYTES) {
      throw new DoppelError("remote-output", `${argv[0]} wrote more than ${MOST_OUTPUT_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
