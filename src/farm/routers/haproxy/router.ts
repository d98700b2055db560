import { refused } from "../failure.ts";
import type {
  Ability,
  ChangeOptions,
  PreparedChange,
  Router,
  RouterState,
  RouterStatistics,
} from "../router.ts";
import { describeRouting, type Routing, type Site } from "../routing.ts";
import { localFiles, type RouterFiles } from "../staged-file.ts";
import { parseInfo, parseStat, type StatRow, splitAnswers } from "./answers.ts";
import { TwoPlaces } from "./change.ts";
import type { HaproxyConfig } from "./config.ts";
import { PersistedRouting } from "./persisted-routing.ts";
import { RuntimeMap } from "./runtime-map.ts";
import { RuntimeRouting } from "./runtime-routing.ts";
import { type RuntimeSocket, runtimeSocket } from "./runtime-socket.ts";
import { backendCounters, backendRow, expectServers } from "./statistics.ts";

/** The machine that HAProxy runs on. */
export interface HaproxyHost {
  socket: RuntimeSocket;
  files: RouterFiles;
}

/** HAProxy with the site's addresses in a map. The runtime API changes what it does, the map's file what it does after a reload. */
export class HaproxyRouter implements Router {
  readonly name: string;
  readonly abilities: ReadonlySet<Ability> = new Set(["canary", "statistics", "drain", "rehearsal"]);
  readonly #config: HaproxyConfig;
  readonly #socket: RuntimeSocket;
  readonly #runtime: RuntimeRouting;
  readonly #places: TwoPlaces;

  private constructor(config: HaproxyConfig, site: Site, host: HaproxyHost) {
    const map = new RuntimeMap(host.socket, config.name, config.map);
    const file = config.mapFile ?? config.map;
    this.name = config.name;
    this.#config = config;
    this.#socket = host.socket;
    this.#runtime = new RuntimeRouting(map, site, config.backends);
    this.#places = new TwoPlaces(
      config.name,
      this.#runtime,
      new PersistedRouting(host.files, file, site, config.backends),
    );
  }

  /** `host` is this machine unless said otherwise. */
  static open(config: HaproxyConfig, site: Site, host: Partial<HaproxyHost> = {}): HaproxyRouter {
    const socket = host.socket ?? runtimeSocket(config.name, config.socket);
    return new HaproxyRouter(config, site, { socket, files: host.files ?? localFiles });
  }

  async probe(signal?: AbortSignal): Promise<RouterState> {
    return await this.#places.probe(signal);
  }

  /** Refuses `router-changed`, `router-backend-missing`, `router-backend-down`, and what an unfit HAProxy is refused for. */
  async prepare(to: Routing, options: ChangeOptions = {}): Promise<PreparedChange> {
    const { routing } = await this.#runtime.read(options.signal);
    const { rows } = await this.#readBackends(options.signal);
    this.#expectBackends(rows, to);
    this.#expectKnown(routing);
    return await this.#places.prepare(to, options);
  }

  async reconcile(to: Routing, timeoutMs: number, options: ChangeOptions = {}): Promise<RouterState> {
    return await this.#places.reconcile(to, timeoutMs, options);
  }

  async statistics(signal?: AbortSignal): Promise<RouterStatistics> {
    const { routing } = await this.#runtime.read(signal);
    const { generation, rows } = await this.#readBackends(signal);
    const { old, new: fresh } = this.#config.backends;
    const counters = (backend: string) => backendCounters(backendRow(this.name, rows, backend));
    return {
      router: this.name,
      generation,
      takenAtMs: performance.now(),
      routing,
      sides: { old: counters(old), new: counters(fresh) },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** All backends' rows: `show stat`, any proxy, type 2, any server. */
  async #readBackends(signal?: AbortSignal): Promise<{ generation: string; rows: StatRow[] }> {
    const [info, stat] = splitAnswers(await this.#socket.ask("show info; show stat -1 2 -1", signal));
    return { generation: parseInfo(this.name, info).generation, rows: parseStat(this.name, stat) };
  }

  #expectKnown(routing: Routing): void {
    const known = (answerer: string) => answerer === "old" || answerer === "new";
    if (known(routing.live) && (known(routing.shadow) || routing.shadow === "none")) return;
    const { old, new: fresh } = this.#config.backends;
    throw refused(
      this.name,
      "router-changed",
      `the map says (${describeRouting(routing)}) where ${old} and ${fresh} are expected`,
      "somebody else changed the map, or the farm file names other backends; make them fit",
    );
  }

  #expectBackends(rows: readonly StatRow[], { live, canaryPercent }: Routing): void {
    for (const side of ["old", "new"] as const) {
      const row = backendRow(this.name, rows, this.#config.backends[side]);
      if (live === side || canaryPercent > 0) expectServers(this.name, row);
    }
  }
}
