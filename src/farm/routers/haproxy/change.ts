import { setTimeout as sleep } from "node:timers/promises";
import { DoppelError } from "../../../errors.ts";
import { isUnreachable, problemOf, unsettled } from "../failure.ts";
import type { ChangeOptions, PreparedChange, RouterState } from "../router.ts";
import { describeRouting, leadsBack, type Routing, sameRouting } from "../routing.ts";
import type { PersistedRouting, StagedRouting } from "./persisted-routing.ts";
import type { PreparedRouting, RuntimeRouting } from "./runtime-routing.ts";

const SETTLE_MS = 10_000;
const RETRY_MS = 25;

/** What HAProxy does and what it would do after a reload: two places that a change has to bring to the same. */
export class TwoPlaces {
  readonly #name: string;
  readonly #runtime: RuntimeRouting;
  readonly #persisted: PersistedRouting;

  constructor(name: string, runtime: RuntimeRouting, persisted: PersistedRouting) {
    this.#name = name;
    this.#runtime = runtime;
    this.#persisted = persisted;
  }

  async probe(signal?: AbortSignal): Promise<RouterState> {
    const state: RouterState = { router: this.#name, agree: false, problems: [] };
    try {
      const { routing, generation } = await this.#runtime.read(signal);
      Object.assign(state, { runtime: routing, generation });
    } catch (error) {
      signal?.throwIfAborted();
      state.problems.push(problemOf(error));
    }
    try {
      state.persisted = await this.#persisted.read();
    } catch (error) {
      state.problems.push(problemOf(error));
    }
    state.agree = state.persisted !== undefined && sameRouting(state.runtime, state.persisted);
    return state;
  }

  /** The file lies ready beside its place, and the worker holds the map: what remains are a rename and a command. */
  async prepare(to: Routing, options: ChangeOptions): Promise<PreparedChange> {
    const { onPoint, signal } = options;
    const staged = await this.#stage(to);
    try {
      const prepared = await this.#runtime.prepare(to, signal);
      await onPoint?.(this.#name, "prepared");
      return {
        commit: () => this.#commit(to, prepared, staged, options),
        abandon: async () => {
          await staged?.discard();
          await unlessGone(prepared.abandon());
        },
      };
    } catch (error) {
      await staged?.discard();
      throw error;
    }
  }

  async reconcile(to: Routing, timeoutMs: number, { onPoint, signal }: ChangeOptions): Promise<RouterState> {
    const deadline = performance.now() + timeoutMs;
    for (let gone: unknown; ; ) {
      const state = await this.probe(signal);
      if (state.agree && sameRouting(state.runtime, to)) {
        await onPoint?.(this.#name, "verified");
        return state;
      }
      if (performance.now() > deadline) throw this.#unsettled(to, state, gone);
      try {
        await this.#approach(to, state);
      } catch (error) {
        if (!isUnreachable(error)) throw error;
        gone = error;
        await sleep(RETRY_MS, undefined, signal ? { signal } : {});
      }
    }
  }

  async #commit(
    to: Routing,
    prepared: PreparedRouting,
    staged: StagedRouting | undefined,
    { onPoint, settleMs }: ChangeOptions,
  ): Promise<void> {
    const persist = async () => {
      if (await staged?.publish()) await onPoint?.(this.#name, "persisted");
    };
    const commit = async () => {
      const done = (await unlessGone(prepared.commit())) === true;
      if (done) await onPoint?.(this.#name, "committed");
      return done;
    };
    if (leadsBack(to)) {
      await persist();
      await commit();
    } else if (await commit()) {
      await persist();
    } else {
      // Whether the worker that died had done it or not: the one that follows reads the file, which must not lead forward yet.
      await staged?.discard();
    }
    await this.reconcile(to, settleMs ?? SETTLE_MS, onPoint ? { onPoint } : {});
  }

  /** One attempt to bring both places to `to`, in the order that leads a restarted router to the old side. */
  async #approach(to: Routing, { runtime, persisted }: RouterState): Promise<void> {
    const commit = async () => {
      if (!sameRouting(runtime, to)) await (await this.#runtime.prepare(to)).commit();
    };
    const persist = async () => {
      if (!sameRouting(persisted, to)) await (await this.#persisted.stage(to)).publish();
    };
    if (!leadsBack(to)) {
      await commit();
      return await persist();
    }
    const notKept = await persist().catch((error: unknown) => ({ error }));
    await commit();
    if (notKept) throw this.#notPersistent(notKept.error);
  }

  /** A full disk must not stand between users and the old side: leading back goes on without the file. */
  async #stage(to: Routing): Promise<StagedRouting | undefined> {
    try {
      return await this.#persisted.stage(to);
    } catch (error) {
      if (leadsBack(to)) return undefined;
      throw error;
    }
  }

  #notPersistent(cause: unknown): DoppelError {
    const why = cause instanceof Error ? cause.message : String(cause);
    return new DoppelError(
      "router-not-persistent",
      `${this.#name} leads to the old side again, but its map file could not be written: ${why}`,
      { hint: "do not reload the router; make room or give the right, and roll back again", cause },
    );
  }

  #unsettled(to: Routing, state: RouterState, cause: unknown): DoppelError {
    const words = (routing: Routing | undefined) => (routing ? describeRouting(routing) : "unknown");
    const found = `now: ${words(state.runtime)}; after a reload: ${words(state.persisted)}`;
    return unsettled(this.#name, describeRouting(to), found, cause);
  }
}

/** The result of an act, or undefined when the router went away in it. */
async function unlessGone<T>(act: Promise<T>): Promise<T | undefined> {
  try {
    return await act;
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    return undefined;
  }
}
