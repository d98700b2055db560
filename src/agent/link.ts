import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { DoppelError, EXIT } from "../errors.ts";
import { formatBytes } from "../units.ts";
import { readMessages } from "./message-reader.ts";
import {
  type AgentMessage,
  type AgentMessageOf,
  encodeHostMessage,
  type HostMessageType,
  PROTOCOL_VERSION,
} from "./wire.ts";

const HELLO_MS = 20_000;
const PING_MS = 5_000;
const STOP_MS = 3_000;
/** Codes of the agent that are refusals and not failures. */
const REFUSALS = new Set(["not-root", "disk-unknown"]);

type Heard = Exclude<AgentMessage, AgentMessageOf<"pong"> | AgentMessageOf<"error">>;

/** A running agent, on the other side of a connection or here. */
export interface AgentProcess {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly exited: Promise<{ code: number | null; signal: string | undefined }>;
  /** The end of its standard error. */
  readonly stderrTail: string;
  kill(): void;
}

/** Messages to and from one running agent: the heartbeat, its end, and why it ended. */
export class AgentLink {
  readonly #where: { readonly name: string };
  readonly #process: AgentProcess;
  readonly #upload: { remove(): Promise<void> };
  readonly #signal: AbortSignal | undefined;
  readonly #messages: AsyncGenerator<AgentMessage, void>;
  readonly #aborted: Promise<never>;
  readonly #onAbort: () => void;
  readonly #heartbeat: NodeJS.Timeout;
  #receivedBytes = 0;
  #stopWaiting: (reason: unknown) => void = () => {};
  #closed: Promise<void> | undefined;

  /** `where` names the machine in errors; `upload` is what is removed in the end. */
  constructor(
    where: { readonly name: string },
    process: AgentProcess,
    upload: { remove(): Promise<void> },
    signal?: AbortSignal,
  ) {
    this.#where = where;
    this.#process = process;
    this.#upload = upload;
    this.#signal = signal;
    this.#messages = readMessages(this.#counted(process.stdout));
    this.#heartbeat = setInterval(() => this.send("ping", Buffer.alloc(8)), PING_MS);
    let onAbort = () => {};
    this.#aborted = new Promise((_, reject) => {
      onAbort = () => {
        this.send("stop", Buffer.alloc(0));
        this.#stopWaiting(signal?.reason);
        reject(signal?.reason);
      };
    });
    this.#aborted.catch(() => {});
    this.#onAbort = onAbort;
    signal?.addEventListener("abort", onAbort, { once: true });
  }

  /** Waits for the first message. */
  async hello(): Promise<AgentMessageOf<"hello">["body"]> {
    const silence = new AbortController();
    const silent = sleep(HELLO_MS, undefined, { signal: silence.signal }).then(() => {
      const what = `the agent on ${this.#where.name} said nothing for ${HELLO_MS / 1000} s`;
      throw new DoppelError("agent-silent", what);
    });
    silent.catch(() => {});
    try {
      const message = await Promise.race([this.next(), silent]);
      if (message.type !== "hello") throw unexpected(message, "hello");
      const { protocol, version } = message.body;
      if (protocol !== PROTOCOL_VERSION) {
        const what = `the agent ${version} speaks protocol ${protocol}, this command ${PROTOCOL_VERSION}`;
        throw new DoppelError("agent-version", what, { hint: "build both from one tree: make -C native" });
      }
      return message.body;
    } finally {
      silence.abort();
    }
  }

  send(type: HostMessageType, body: unknown): void {
    // To an agent that has ended nothing can be said: `next` tells why it ended.
    if (this.#process.stdin.writable) this.#process.stdin.write(encodeHostMessage(type, body));
  }

  /** The next message that is not an answer to the heartbeat. */
  async next(): Promise<Heard> {
    for (;;) {
      this.#signal?.throwIfAborted();
      const { done, value } = await this.#unlessAborted(this.#messages.next());
      if (done) throw await this.#whyItEnded();
      if (value.type === "error") throw this.#reported(value.body);
      if (value.type !== "pong") return value;
    }
  }

  /**
   * Waits for one step of a long stream, or for the abort. Not a race with one promise that lives as long as the
   * stream: it would keep every step's continuation until the end.
   */
  #unlessAborted<T>(step: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#stopWaiting = reject;
      step.then(resolve, reject);
    });
  }

  async close(): Promise<void> {
    this.#closed ??= this.#close();
    await this.#closed;
  }

  async #close(): Promise<void> {
    clearInterval(this.#heartbeat);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.send("stop", Buffer.alloc(0));
    const patience = new AbortController();
    const ended = this.#process.exited.then(
      () => true,
      () => true,
    );
    const late = sleep(STOP_MS, false, { signal: patience.signal }).catch(() => false);
    if (!(await Promise.race([ended, late]))) this.#process.kill();
    patience.abort();
    await this.#upload.remove();
  }

  async *#counted(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      this.#receivedBytes += chunk.length;
      yield chunk;
    }
  }

  async #whyItEnded(): Promise<unknown> {
    const received = `after ${formatBytes(this.#receivedBytes)} received`;
    try {
      const { code, signal } = await Promise.race([this.#process.exited, this.#aborted]);
      const how = signal === undefined ? `with exit code ${code}` : `by ${signal}`;
      const last = this.#process.stderrTail.trim().split("\n").at(-1);
      const what = `the agent on ${this.#where.name} ended ${how} ${received}`;
      return new DoppelError("agent-ended", last ? `${what}: ${last}` : what, {
        hint: "see the source's kernel log, then run the same command again",
      });
    } catch (error) {
      if (!(error instanceof DoppelError) || error.code !== "connection-lost") return error;
      return new DoppelError(error.code, `${error.message}, ${received}`, {
        cause: error,
        details: { receivedBytes: this.#receivedBytes },
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      });
    }
  }

  #reported({ code, message, hint, ...details }: AgentMessageOf<"error">["body"]): DoppelError {
    return new DoppelError(code, `${this.#where.name}: ${message}`, {
      details,
      exitCode: REFUSALS.has(code) ? EXIT.refused : EXIT.failed,
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

/** The error for a message that the protocol does not allow here. */
export function unexpected(message: AgentMessage, wanted: string): DoppelError {
  return new DoppelError(
    "agent-protocol",
    `the agent broke its protocol: ${message.type} came instead of ${wanted}`,
  );
}
