import { startProgram } from "../run-program.ts";
import type { SshConnection } from "../ssh/connection.ts";
import { BatchOrder } from "./batch-order.ts";
import { agentPath, readAgentBinary } from "./binary.ts";
import { HaveSender, type KnownHashes } from "./have-sender.ts";
import { AgentLink, unexpected } from "./link.ts";
import { inspectAccount } from "./source-account.ts";
import { uploadAgent } from "./upload.ts";
import type { AgentMessage, AgentMessageOf } from "./wire.ts";

export interface SessionOptions {
  signal?: AbortSignal;
  /** Milliseconds without a sign of life after which either side gives up; default 30,000. */
  idleTimeoutMs?: number;
  /** This file instead of the built agent. */
  agentBinary?: string;
  /** Hears the agent's warnings outside of a capture, where they are among the messages. */
  onWarning?: (warning: AgentMessageOf<"warning">["body"]) => void;
}

export interface PlanRequest {
  disks: string[];
  /** Freeze and thaw each mounted file system once so that its on-disk metadata is true. */
  refreshMetadata: boolean;
}

/** docs/agent-protocol.md, CAPTURE_REQUEST. */
export interface CaptureRequest extends PlanRequest {
  level: number;
  threads: number;
  limitRateBytesPerSecond: number;
  limitCpuPercent: number;
  onReadError: "stop" | "zero";
  priority: "low" | "normal";
  freeze: { mountpoints: string[]; budgetMilliseconds: number } | null;
  pass: number;
}

/** What a capture yields, in the order of docs/agent-protocol.md; CAPTURE_END is the last one. */
export type CaptureMessage = Exclude<
  AgentMessage,
  | AgentMessageOf<"hello">
  | AgentMessageOf<"facts">
  | AgentMessageOf<"plan">
  | AgentMessageOf<"pong">
  | AgentMessageOf<"want">
  | AgentMessageOf<"error">
>;

const DEFAULT_IDLE_MS = 30_000;

/**
 * The agent at work on a source, over a connection that the caller owns.
 *
 * Requests go one after another. Every method throws `connection-lost`, `agent-ended`, `agent-protocol`, the reason of
 * the signal, or the error that the agent reported, with the agent's code.
 */
export class AgentSession implements AsyncDisposable {
  readonly hello: AgentMessageOf<"hello">["body"];
  readonly #link: AgentLink;
  readonly #idleTimeoutMs: number;
  readonly #onWarning: SessionOptions["onWarning"];

  private constructor(link: AgentLink, hello: AgentMessageOf<"hello">["body"], options: SessionOptions) {
    this.#link = link;
    this.hello = hello;
    this.#idleTimeoutMs = options.idleTimeoutMs ?? DEFAULT_IDLE_MS;
    this.#onWarning = options.onWarning;
  }

  /**
   * Uploads the agent, starts it as root and waits for its HELLO.
   *
   * Throws the errors of `inspectAccount`, `readAgentBinary` and `uploadAgent`, `agent-version` for a foreign agent,
   * `agent-silent` when nothing comes.
   */
  static async open(connection: SshConnection, options: SessionOptions = {}): Promise<AgentSession> {
    const { signal } = options;
    const account = await inspectAccount(connection, signal);
    const binary = await readAgentBinary(account.machine, options.agentBinary);
    const upload = await uploadAgent(connection, binary, account.uid, signal);
    const idle = String(options.idleTimeoutMs ?? DEFAULT_IDLE_MS);
    const command = [...account.asRoot, upload.path, "serve", "--unlink", "--idle-timeout", idle];
    let link: AgentLink | undefined;
    try {
      signal?.throwIfAborted();
      link = new AgentLink(connection, await connection.exec(command, { sendsMuch: true }), upload, signal);
      return new AgentSession(link, await link.hello(), options);
    } catch (error) {
      if (link) await link.close();
      else await upload.remove();
      throw error;
    }
  }

  /**
   * Starts the agent here, as this user, to read disk images. `name` is said in errors. Throws `agent-missing` when it is not
   * built.
   */
  static async openHere(name: string, options: SessionOptions = {}): Promise<AgentSession> {
    const idle = String(options.idleTimeoutMs ?? DEFAULT_IDLE_MS);
    const process = startProgram(await agentPath(), ["serve", "--idle-timeout", idle]);
    const link = new AgentLink({ name }, process, { remove: async () => {} }, options.signal);
    try {
      return new AgentSession(link, await link.hello(), options);
    } catch (error) {
      await link.close();
      throw error;
    }
  }

  /** The machine facts, for src/machine to parse. */
  async facts(): Promise<unknown> {
    this.#link.send("facts-request", {});
    return (await this.#answer("facts")).body;
  }

  /** What would be captured how, for src/machine to parse. */
  async plan(request: PlanRequest): Promise<unknown> {
    this.#link.send("plan-request", request);
    return (await this.#answer("plan")).body;
  }

  /**
   * Captures disks; what `known` has of a disk is compared on the source, and answered by SAME. Not reading on slows the
   * agent down; after `idleTimeoutMs` of that it gives up. Throws what a source of hashes throws, too.
   */
  async *capture(request: CaptureRequest, known: KnownHashes = []): AsyncGenerator<CaptureMessage, void> {
    const have = new HaveSender(known, (payload) => this.#link.send("have", payload));
    const compare = request.disks.flatMap((_, disk) => (known[disk] ? [disk] : []));
    const idleTimeoutMilliseconds = this.#idleTimeoutMs;
    this.#link.send("capture-request", { ...request, compare, idleTimeoutMilliseconds });
    try {
      yield* this.#copy(new BatchOrder(request.disks.length), have);
    } finally {
      have.end();
    }
  }

  async *#copy(order: BatchOrder, have: HaveSender): AsyncGenerator<CaptureMessage, void> {
    for (;;) {
      const message = await this.#link.next();
      have.throwIfFailed();
      if (message.type === "want") {
        have.grant(message.body.disk, message.body.hashes);
        continue;
      }
      if (message.type === "hello" || message.type === "facts" || message.type === "plan") {
        throw unexpected(message, "a part of a capture");
      }
      order.check(message);
      yield message;
      if (message.type === "capture-end") return;
    }
  }

  /** Stops the agent, which thaws what it froze, and removes what is left of it. */
  async close(): Promise<void> {
    await this.#link.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #answer<T extends "facts" | "plan">(type: T): Promise<AgentMessageOf<T>> {
    for (;;) {
      const message = await this.#link.next();
      if (message.type === type) return message as AgentMessageOf<T>;
      if (message.type === "warning") this.#onWarning?.(message.body);
      else if (message.type !== "frozen" && message.type !== "thawed") throw unexpected(message, type);
    }
  }
}
