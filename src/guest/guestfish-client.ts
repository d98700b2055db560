import { randomUUID } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { DoppelError } from "../errors.ts";
import { type RunningProgram, startServer } from "../run-program.ts";

/** guestfish takes what a line has beyond 8191 bytes for another command. */
const MOST_LINE_BYTES = 8000;
const MOST_OUTPUT_BYTES = 128 * 1024 * 1024;
const END_MS = 60_000;

/** What a command printed, and why it failed if it did. */
export interface Answer {
  output: Buffer;
  failure?: string;
}

/**
 * A command and its words as a line that guestfish reads, where every byte that could mean something stands as its number
 * (guestfish(1), "QUOTING"); undefined when they are too long for one, or hold a zero byte.
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
  return line.length <= MOST_LINE_BYTES && !line.includes("\\x00") ? line : undefined;
}

/** A guestfish that reads commands, one at a time; it ends with its appliance when we do, however that comes. */
export class GuestfishClient {
  readonly #program: RunningProgram;
  readonly #errors: FileHandle;
  #errorBytes = 0;
  /** Why there is no guestfish any more. */
  #ended: unknown;
  #reading: Output | undefined;

  private constructor(program: RunningProgram, errors: FileHandle) {
    this.#program = program;
    this.#errors = errors;
    const end = (why: unknown) => {
      this.#ended = why;
      this.#reading?.fail(why);
    };
    program.exited.then(() => end(gone("it ended")), end);
    program.stdout.on("data", (chunk: Buffer) => this.#reading?.take(chunk));
  }

  /** Starts guestfish; `errorFile` is made for what it says on its standard error. */
  static async start(errorFile: string, env: Record<string, string>): Promise<GuestfishClient> {
    const errors = await open(errorFile, "ax+", 0o600);
    const program = startServer("guestfish", ["--keys-from-stdin"], { env, stderrTo: errors });
    return new GuestfishClient(program, errors);
  }

  /**
   * Sends a line of `commandLine`, and the key that the command asks for: it must, else the key would be read as a command. Throws
   * `program-missing`, and `guestfs-failed` when guestfish ends.
   */
  async ask(
    line: string,
    options: { timeoutMs: number; signal?: AbortSignal | undefined; key?: string },
  ): Promise<Answer> {
    const { signal, timeoutMs, key } = options;
    signal?.throwIfAborted();
    if (this.#ended !== undefined) throw this.#ended;
    const reading = new Output();
    this.#reading = reading;
    const abort = () => reading.fail(signal?.reason);
    const late = () =>
      reading.fail(new DoppelError("program-timeout", `guestfish did not answer in ${timeoutMs / 1000} s`));
    const timer = setTimeout(late, timeoutMs);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const lines = [line, ...(key === undefined ? [] : [key]), `echo ${reading.end.toString()}`];
      this.#program.stdin.write(lines.join("\n"));
      const output = await reading.output;
      const errors = await this.#freshErrors();
      return errors === "" ? { output } : { output, failure: explain(errors) };
    } catch (error) {
      // What it still prints would be taken for the next answer.
      this.#program.kill();
      throw error;
    } finally {
      this.#reading = undefined;
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Ends guestfish and the appliance, at once when the work was given up. */
  async end(isAborted: boolean): Promise<void> {
    if (isAborted) this.#program.kill();
    const timer = setTimeout(() => this.#program.kill(), END_MS);
    this.#program.stdin.end();
    await this.#program.exited.catch(() => {});
    clearTimeout(timer);
    await this.#errors.close();
  }

  /** What it said of the last command: before it printed the end, so it is there. Warnings are left out. */
  async #freshErrors(): Promise<string> {
    const { size } = await this.#errors.stat();
    const { buffer } = await this.#errors.read(
      Buffer.alloc(size - this.#errorBytes),
      0,
      size - this.#errorBytes,
      this.#errorBytes,
    );
    this.#errorBytes = size;
    const lines = buffer.toString("utf8").split("\n");
    return lines.filter((line) => line !== "" && !/^(?:libguestfs: )?warning:/.test(line)).join("\n");
  }
}

/** What one command prints, up to a line that nothing in a guest can be. */
class Output {
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

function explain(errors: string): string {
  return errors
    .replace(/^(?:\*stdin\*:\d+: )?libguestfs: error: /gm, "")
    .trim()
    .split("\n")
    .slice(-3)
    .join("; ");
}

function gone(why: string): DoppelError {
  return new DoppelError("guestfs-failed", `guestfish does not go on: ${why}`);
}
