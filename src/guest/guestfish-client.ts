import { randomUUID } from "node:crypto";
import { DoppelError } from "../errors.ts";
import { startProgram } from "../run-program.ts";

/** guestfish takes what a line has beyond 8191 bytes for another command. */
const MOST_LINE_BYTES = 8000;
const MOST_OUTPUT_BYTES = 128 * 1024 * 1024;

/**
 * A command and its words as a line that guestfish reads, where every byte that could mean something stands as its number
 * (guestfish(1), "QUOTING"); undefined when it would be too long.
 */
export function commandLine(command: string, args: readonly (string | Buffer)[]): string | undefined {
  const words = args.map((word) => {
    const bytes = Buffer.from(word);
    const text = bytes.toString("latin1").replace(/[^A-Za-z0-9/_.,:=+-]/g, (character) => {
      return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
    });
    return ` "${text}"`;
  });
  // The dash: guestfish goes on when the command fails.
  const line = `-${command}${words.join("")}`;
  return line.length <= MOST_LINE_BYTES ? line : undefined;
}

/** A `guestfish --remote` that stays: to start one takes twenty times as long as most commands. One command at a time. */
export class GuestfishClient {
  readonly #program: ReturnType<typeof startProgram>;
  /** How guestfish ended, once it has. */
  #ended: Error | undefined;
  #answer: Answer | undefined;

  constructor(serverPid: string, env: Record<string, string>) {
    this.#program = startProgram("guestfish", [`--remote=${serverPid}`], { env });
    const end = (error: Error) => {
      this.#ended = error;
      this.#answer?.fail(error);
    };
    this.#program.exited.then(() => end(gone(this.#program.stderrTail.trim())), end);
    this.#program.stdout.on("data", (chunk: Buffer) => this.#answer?.take(chunk));
  }

  /** Sends a line of `commandLine`; returns what the command prints. Throws `guestfs-failed` when guestfish ends instead. */
  async ask(line: string, limits: { timeoutMs: number; signal?: AbortSignal | undefined }): Promise<Buffer> {
    limits.signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    const answer = new Answer();
    this.#answer = answer;
    const abort = () => answer.fail(limits.signal?.reason);
    const late = () =>
      answer.fail(
        new DoppelError("program-timeout", `guestfish did not answer in ${limits.timeoutMs / 1000} s`),
      );
    const timer = setTimeout(late, limits.timeoutMs);
    limits.signal?.addEventListener("abort", abort, { once: true });
    try {
      this.#program.stdin.write(`${line}\necho ${answer.end.toString()}`);
      return await answer.output;
    } catch (error) {
      // What it still prints would be taken for the next answer.
      this.end();
      throw error;
    } finally {
      this.#answer = undefined;
      clearTimeout(timer);
      limits.signal?.removeEventListener("abort", abort);
    }
  }

  end(): void {
    this.#program.kill();
  }
}

/** What one command prints, up to a line that nothing in a guest can be. */
class Answer {
  readonly end = Buffer.from(`${randomUUID()}\n`);
  readonly output: Promise<Buffer>;
  fail: (error: unknown) => void = () => {};
  #succeed: (output: Buffer) => void = () => {};
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #tail = Buffer.alloc(0);

  constructor() {
    this.output = new Promise((resolve, reject) => {
      this.#succeed = resolve;
      this.fail = reject;
    });
  }

  take(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    this.#tail = Buffer.concat([this.#tail, chunk]).subarray(-this.end.length);
    if (this.#tail.equals(this.end))
      this.#succeed(Buffer.concat(this.#chunks, this.#bytes - this.end.length));
    else if (this.#bytes > MOST_OUTPUT_BYTES) this.fail(gone("it prints more than 128 MiB"));
  }
}

function gone(why: string): DoppelError {
  return new DoppelError("guestfs-failed", `guestfish does not go on: ${why || "it ended"}`);
}
