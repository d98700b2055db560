import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type CommandResult, packageRoot } from "./doppel.ts";
import type { FarmLab } from "./farm-lab.ts";

const PROGRAM = join(packageRoot, "dist/fixtures/farm-and-die.js");

/** Who runs commands on the farm of a lab and may be killed in the middle of one; somebody else goes on then. */
export class Operator implements AsyncDisposable {
  readonly #lab: FarmLab;
  #process: ChildProcess;
  /** Ready to go on: to load all of it takes longer than most commands. */
  #next: ChildProcess;

  constructor(lab: FarmLab) {
    this.#lab = lab;
    this.#process = this.#start();
    this.#next = this.#start();
  }

  /** Runs `doppel farm COMMAND FILE WORDS`, where a command may be two words; it must succeed. */
  async run(command: string, ...words: string[]): Promise<CommandResult> {
    const ended = await this.#send(command, words);
    if (typeof ended === "object" && ended.code === 0) return ended;
    throw new Error(`${command} ${words.join(" ")}: ${JSON.stringify(ended)}`);
  }

  /** The same, killed at one of its moments (fixtures/farm-and-die.ts); says at which, or undefined when it came to its end. */
  async killedAt(moment: number | string, command: string, ...words: string[]): Promise<string | undefined> {
    const ended = await this.#send(command, words, moment);
    if (typeof ended === "string") return ended;
    if (ended.code === 0) return undefined;
    throw new Error(`${command} ${words.join(" ")}: ${JSON.stringify(ended)}`);
  }

  /** The command that was cut off and not gone on with, as `status` tells it; null when there is none. */
  async unfinished(): Promise<unknown> {
    return JSON.parse((await this.run("status", "--json")).stdout).unfinished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of [this.#process, this.#next]) {
      const exited = once(child, "exit");
      if (child.exitCode === null && child.kill("SIGKILL")) await exited;
    }
  }

  async #send(
    command: string,
    words: readonly string[],
    moment?: number | string,
  ): Promise<CommandResult | string> {
    const child = this.#process;
    let said = "";
    const hear = (chunk: Buffer) => {
      said += String(chunk);
    };
    child.stderr?.on("data", hear);
    const listening = new AbortController();
    const { signal } = listening;
    try {
      const answer = once(child, "message", { signal }).then(([result]) => result as CommandResult);
      const death = once(child, "close", { signal }).then(
        () => /^killed (.*)$/m.exec(said)?.[1] ?? `died: ${said}`,
      );
      child.send({ words: ["farm", ...command.split(" "), this.#lab.file, ...words], moment });
      const ended = await Promise.race([answer, death]);
      if (typeof ended === "string") [this.#process, this.#next] = [this.#next, this.#start()];
      return ended;
    } finally {
      listening.abort();
      child.stderr?.off("data", hear);
    }
  }

  #start(): ChildProcess {
    return fork(PROGRAM, { env: { ...process.env, DOPPEL_HOME: this.#lab.doppel.home }, silent: true });
  }
}
