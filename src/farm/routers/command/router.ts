import { setTimeout as sleep } from "node:timers/promises";
import type { z } from "zod";
import { DoppelError } from "../../../errors.ts";
import { parseJson } from "../../../parse-json.ts";
import { runProgram } from "../../../run-program.ts";
import { cannot, problemOf, refused, unsettled } from "../failure.ts";
import type {
  Ability,
  ChangeOptions,
  PreparedChange,
  Router,
  RouterState,
  RouterStatistics,
} from "../router.ts";
import { describeRouting, leadsBack, type Routing, type Site, sameRouting } from "../routing.ts";
import type { CommandConfig } from "./config.ts";
import {
  COMMAND_EXIT,
  CONTRACT,
  type CommandInput,
  probeOutput,
  statisticsOutput,
  type Verb,
} from "./contract.ts";

const SETTLE_MS = 10_000;
const RETRY_MS = 200;

/** A router that a command of the user's talks to, by the contract of docs/routers.md. */
export class CommandRouter implements Router {
  readonly name: string;
  readonly #config: CommandConfig;
  readonly #site: Site;
  #abilities: ReadonlySet<Ability>;

  private constructor(config: CommandConfig, site: Site) {
    this.name = config.name;
    this.#config = config;
    this.#site = site;
    this.#abilities = new Set();
  }

  /** Asks the command what it can. Throws `router-command` when it does not keep to the contract. */
  static async open(config: CommandConfig, site: Site): Promise<CommandRouter> {
    const router = new CommandRouter(config, site);
    await router.#read();
    return router;
  }

  get abilities(): ReadonlySet<Ability> {
    return this.#abilities;
  }

  async probe(signal?: AbortSignal): Promise<RouterState> {
    try {
      const { runtime, persisted = runtime } = await this.#read(signal);
      return { router: this.name, runtime, persisted, agree: sameRouting(runtime, persisted), problems: [] };
    } catch (error) {
      signal?.throwIfAborted();
      return { router: this.name, agree: false, problems: [problemOf(error)] };
    }
  }

  /** Runs the verb `check`, which may refuse. */
  async prepare(to: Routing, options: ChangeOptions = {}): Promise<PreparedChange> {
    if (to.canaryPercent > 0) this.#expect("canary");
    await this.#run("check", options.signal, to);
    await options.onPoint?.(this.name, "prepared");
    return {
      commit: async () => {
        await this.#run(verbFor(to), undefined, to);
        await options.onPoint?.(this.name, "committed");
        await options.onPoint?.(this.name, "persisted");
        const { onPoint, settleMs } = options;
        await this.reconcile(to, settleMs ?? SETTLE_MS, onPoint ? { onPoint } : {});
      },
      abandon: async () => {},
    };
  }

  async reconcile(
    to: Routing,
    timeoutMs: number,
    { onPoint, signal }: ChangeOptions = {},
  ): Promise<RouterState> {
    const deadline = performance.now() + timeoutMs;
    for (let failure: unknown; ; ) {
      const state = await this.probe(signal);
      if (state.agree && sameRouting(state.runtime, to)) {
        await onPoint?.(this.name, "verified");
        return state;
      }
      if (performance.now() > deadline) {
        const found = state.runtime ? describeRouting(state.runtime) : (state.problems[0]?.message ?? "");
        throw unsettled(this.name, describeRouting(to), found, failure);
      }
      try {
        await this.#run(verbFor(to), signal, to);
      } catch (error) {
        signal?.throwIfAborted();
        failure = error;
        await sleep(RETRY_MS, undefined, signal ? { signal } : {});
      }
    }
  }

  async statistics(signal?: AbortSignal): Promise<RouterStatistics> {
    this.#expect("statistics");
    const { runtime } = await this.#read(signal);
    const { generation, sides } = this.#parse(
      "statistics",
      statisticsOutput,
      await this.#run("statistics", signal),
    );
    const { old, new: fresh } = sides;
    return {
      router: this.name,
      generation,
      takenAtMs: performance.now(),
      routing: runtime,
      sides: { old: withoutUndefined(old), new: withoutUndefined(fresh) },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #read(signal?: AbortSignal): Promise<z.output<typeof probeOutput>> {
    const found = this.#parse("probe", probeOutput, await this.#run("probe", signal));
    this.#abilities = new Set(found.abilities);
    return found;
  }

  /** Runs a verb and returns what it printed. */
  async #run(verb: Verb, signal?: AbortSignal, to?: Routing): Promise<string> {
    const [program = "", ...args] = this.#config.command;
    const input: CommandInput = { contract: CONTRACT, site: this.#site, ...(to ? { to } : {}) };
    const { exitCode, stdout, stderr } = await runProgram(program, [...args, verb], {
      input: `${JSON.stringify(input)}\n`,
      timeoutMs: this.#config.timeoutMs,
      allowFailure: true,
      ...(signal ? { signal } : {}),
    });
    if (exitCode === COMMAND_EXIT.done) return stdout;
    const why = stderr.trim().split("\n").slice(-2).join("; ") || `it ended with ${exitCode}`;
    if (exitCode === COMMAND_EXIT.refused) {
      throw refused(this.name, "router-refused", `its command refuses to ${verb}: ${why}`, "do what it says");
    }
    throw new DoppelError("router-command", `${this.name}: '${verb}' of its command failed: ${why}`, {
      hint: `run it by hand: ${this.#config.command.join(" ")} ${verb}`,
    });
  }

  #parse<T extends z.ZodType>(verb: Verb, schema: T, text: string): z.output<T> {
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    const where = issue?.path.join(".") || "the output";
    throw new DoppelError(
      "router-command",
      `${this.name}: what '${verb}' of its command printed is not as agreed: ${where}: ${issue?.message}`,
      { hint: "docs/routers.md has the contract" },
    );
  }

  #expect(ability: Ability): void {
    if (!this.#abilities.has(ability)) {
      throw cannot(this.name, ability, "its command must name it among the abilities that 'probe' prints");
    }
  }
}

function verbFor(to: Routing): Verb {
  return leadsBack(to) ? "undo" : "switch";
}

/** The same object without members that are undefined. */
function withoutUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}
