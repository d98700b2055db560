import { DoppelError } from "../../errors.ts";
import { problemOf } from "./failure.ts";
import type { ChangePoint, PreparedChange, Router } from "./router.ts";
import { describeRouting, leadsBack, type Routing } from "./routing.ts";
import { nextStep, type Outcome, type Phase, type RouterProgress, type Step } from "./together.ts";

export interface ChangeRoutingOptions {
  /** What the routers do before, and are led back to when one of them fails for good. */
  from: Routing;
  to: Routing;
  /** How long a router that failed in the middle is tried to be repaired; default 10,000. */
  repairMs?: number;
  /** How long each router's commit may take when the router restarts in the middle of it; default 10,000. */
  settleMs?: number;
  /** Called before each step and at the end, with how far each router is: for a journal. */
  onStep?: (step: Step | Outcome, progress: readonly RouterProgress[]) => Promise<void> | void;
  onPoint?: (router: string, point: ChangePoint) => Promise<void> | void;
  /** Heard until the first router is committed; from then on the change goes to its end. */
  signal?: AbortSignal;
}

const REPAIR_MS = 10_000;

/**
 * Changes all routers or none; a change that leads users back to the old side, as many as possible (`nextStep`).
 *
 * Throws the router's own refusal when one cannot be prepared (nothing has changed),
 * `routers-put-back` when one failed in the middle and all are back at `from`, `routers-disagree` when they could not all
 * be brought back. Can be called again, with the same or the other routing, whatever a former call left.
 */
export async function changeRouting(
  routers: readonly Router[],
  options: ChangeRoutingOptions,
): Promise<RouterProgress[]> {
  const change = new Change(routers, options);
  while (true) {
    const step = nextStep(change.progress, leadsBack(options.to));
    await options.onStep?.(step, change.progress);
    if (typeof step !== "string") await change.perform(step);
    else if (step === "changed") return change.progress;
    else throw change.failure(step);
  }
}

class Change {
  readonly progress: RouterProgress[];
  readonly #routers: ReadonlyMap<string, Router>;
  readonly #options: ChangeRoutingOptions;
  readonly #prepared = new Map<string, PreparedChange>();
  #firstError: unknown;

  constructor(routers: readonly Router[], options: ChangeRoutingOptions) {
    this.#routers = new Map(routers.map((router) => [router.name, router]));
    if (this.#routers.size !== routers.length) throw new RangeError("two routers have one name");
    this.#options = options;
    this.progress = routers.map((router) => ({ router: router.name, phase: "waiting" }));
  }

  async perform({ act, routers }: Step): Promise<void> {
    await Promise.all(
      routers.map(async (name) => {
        const router = this.#routers.get(name);
        if (router === undefined) throw new RangeError(name);
        try {
          this.#mark(name, await this.#acts[act](router));
        } catch (error) {
          this.#firstError ??= error;
          this.#mark(name, FAILED[act], error);
        }
      }),
    );
  }

  failure(outcome: Exclude<Outcome, "changed">): unknown {
    if (outcome === "refused") return this.#firstError;
    const { from, to } = this.#options;
    const why = problemOf(this.#firstError).message;
    const details = { progress: this.progress };
    if (outcome === "put-back") {
      return new DoppelError(
        "routers-put-back",
        `not all routers could be changed to (${describeRouting(to)}), all are back at (${describeRouting(from)}): ${why}`,
        { hint: "mend the router and run the command again", cause: this.#firstError, details },
      );
    }
    const left = this.progress.filter(({ phase }) => phase === "lost" || phase === "unrepaired");
    const onlyFiles = left.every(({ problem }) => problem?.code === "router-not-persistent");
    if (onlyFiles) return this.#firstError;
    const lost = left.map(({ router }) => router);
    return new DoppelError(
      "routers-disagree",
      `${lost.join(", ")} could be brought neither to (${describeRouting(to)}) nor to (${describeRouting(from)}): ${why}`,
      {
        hint: "mend the router, then roll back or resume: both bring all to the same",
        cause: this.#firstError,
        details,
      },
    );
  }

  readonly #acts: Readonly<Record<Step["act"], (router: Router) => Promise<Phase>>> = {
    prepare: async (router) => {
      const { to, onPoint, signal, settleMs } = this.#options;
      const options = {
        ...(onPoint ? { onPoint } : {}),
        ...(signal ? { signal } : {}),
        ...(settleMs === undefined ? {} : { settleMs }),
      };
      this.#prepared.set(router.name, await router.prepare(to, options));
      return "prepared";
    },
    commit: async (router) => {
      await this.#prepared.get(router.name)?.commit();
      return "committed";
    },
    repair: async (router) => {
      await router.reconcile(this.#options.to, this.#options.repairMs ?? REPAIR_MS);
      return "committed";
    },
    restore: async (router) => {
      await router.reconcile(this.#options.from, this.#options.repairMs ?? REPAIR_MS);
      return "restored";
    },
    abandon: async (router) => {
      await this.#prepared.get(router.name)?.abandon();
      return "abandoned";
    },
  };

  #mark(name: string, phase: Phase, error?: unknown): void {
    const entry = this.progress.find(({ router }) => router === name);
    if (entry === undefined) return;
    entry.phase = phase;
    if (error !== undefined) entry.problem = problemOf(error);
  }
}

/** What an act that throws makes of its router. */
const FAILED: Readonly<Record<Step["act"], Phase>> = {
  prepare: "refused",
  commit: "failed",
  repair: "unrepaired",
  restore: "lost",
  abandon: "abandoned",
};
