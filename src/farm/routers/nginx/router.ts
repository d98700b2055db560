import { setTimeout as sleep } from "node:timers/promises";
import { DoppelError } from "../../../errors.ts";
import { cannot, problemOf, refused, unsettled } from "../failure.ts";
import { askFromOutside } from "../outside.ts";
import type {
  Ability,
  ChangeOptions,
  PreparedChange,
  Router,
  RouterState,
  RouterStatistics,
} from "../router.ts";
import { type Answerer, describeRouting, type Routing, type Site, sameRouting } from "../routing.ts";
import { AccessLog } from "./access-log.ts";
import type { NginxConfig } from "./config.ts";
import { localHost, type NginxHost } from "./host.ts";
import { BUCKET_COOKIE, SIDE_PATH } from "./snippet.ts";
import { SwitchFolder } from "./switch-folder.ts";

const SETTLE_MS = 10_000;
const RETRY_MS = 25;
/** The last bucket is in no canary. */
const LAST_BUCKET = 99;

/** nginx that looks for files at each request: no reload, so no connection is closed, and what it does is what is on disk. */
export class NginxRouter implements Router {
  readonly name: string;
  readonly abilities: ReadonlySet<Ability>;
  readonly #config: NginxConfig;
  readonly #site: Site;
  readonly #folder: SwitchFolder;
  readonly #log: AccessLog | undefined;
  readonly #openedAt = new Date().toISOString();

  private constructor(config: NginxConfig, site: Site, host: NginxHost) {
    this.name = config.name;
    this.abilities = new Set<Ability>([
      "canary",
      "rehearsal",
      ...(host.log === undefined ? [] : (["statistics"] as const)),
    ]);
    this.#config = config;
    this.#site = site;
    this.#folder = new SwitchFolder(host.state);
    this.#log = host.log && new AccessLog(host.log, config.backends);
  }

  /** `host` is this machine unless said otherwise. */
  static open(config: NginxConfig, site: Site, host = localHost(config)): NginxRouter {
    return new NginxRouter(config, site, host);
  }

  /** Asks nginx for both addresses; the canary's share is the folder's, which nginx looks into at each request. */
  async probe(signal?: AbortSignal): Promise<RouterState> {
    const state: RouterState = { router: this.name, agree: false, problems: [] };
    try {
      state.persisted = await this.#folder.read();
      const [live, shadow] = await Promise.all([
        this.#sideOf(this.#site.live, signal),
        this.#sideOf(this.#site.shadow, signal),
      ]);
      state.runtime = { live, shadow, canaryPercent: state.persisted.canaryPercent };
      state.agree = sameRouting(state.runtime, state.persisted);
    } catch (error) {
      signal?.throwIfAborted();
      state.problems.push(problemOf(error));
    }
    return state;
  }

  async prepare(to: Routing, options: ChangeOptions = {}): Promise<PreparedChange> {
    const state = await this.probe(options.signal);
    if (!state.agree) throw this.#unfit(state);
    const staged = await this.#folder.stage(to);
    try {
      await options.onPoint?.(this.name, "prepared");
    } catch (error) {
      await staged.discard();
      throw error;
    }
    return {
      commit: async () => {
        await staged.publish();
        await options.onPoint?.(this.name, "committed");
        await options.onPoint?.(this.name, "persisted");
        const { onPoint, settleMs } = options;
        await this.reconcile(to, settleMs ?? SETTLE_MS, onPoint ? { onPoint } : {});
      },
      abandon: () => staged.discard(),
    };
  }

  async reconcile(
    to: Routing,
    timeoutMs: number,
    { onPoint, signal }: ChangeOptions = {},
  ): Promise<RouterState> {
    const deadline = performance.now() + timeoutMs;
    while (true) {
      if (!sameRouting(await this.#folder.read(), to)) await (await this.#folder.stage(to)).publish();
      const state = await this.probe(signal);
      if (state.agree) {
        await onPoint?.(this.name, "verified");
        return state;
      }
      if (performance.now() > deadline) {
        const found = state.runtime ? describeRouting(state.runtime) : (state.problems[0]?.message ?? "");
        throw unsettled(this.name, describeRouting(to), found);
      }
      await sleep(RETRY_MS, undefined, signal ? { signal } : {});
    }
  }

  async statistics(signal?: AbortSignal): Promise<RouterStatistics> {
    if (this.#log === undefined)
      throw cannot(this.name, "statistics", "name its log; docs/routers.md has the format");
    const [sides, state] = await Promise.all([this.#log.read(), this.probe(signal)]);
    if (state.runtime === undefined)
      throw new DoppelError("router-unreachable", state.problems[0]?.message ?? "");
    return {
      router: this.name,
      generation: this.#openedAt,
      takenAtMs: performance.now(),
      routing: state.runtime,
      sides,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #sideOf(host: string, signal?: AbortSignal): Promise<Answerer> {
    const { version } = await askFromOutside({
      url: `http://${host}${SIDE_PATH}`,
      address: this.#config.address,
      version: { body: "^([\\w.-]{1,128})$" },
      cookie: `${BUCKET_COOKIE}=${LAST_BUCKET}`,
      ...(signal ? { signal } : {}),
    });
    if (version === this.#config.backends.old) return "old";
    if (version === this.#config.backends.new) return "new";
    return version === undefined ? "none" : `other:${version}`;
  }

  #unfit({ problems, runtime }: RouterState): DoppelError {
    const found = runtime
      ? `nginx does (${describeRouting(runtime)})`
      : problems.map(({ message }) => message).join("; ");
    return refused(
      this.name,
      "router-changed",
      `what it does is not what its folder says: ${found}`,
      "its configuration must have the lines of docs/routers.md, and be loaded",
    );
  }
}
