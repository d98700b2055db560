import type { Routing, Site } from "../routing.ts";
import type { RuntimeMap } from "./runtime-map.ts";
import { type Backends, type MapEntry, routingOf, withRouting } from "./site-map.ts";

/** A routing that a worker holds ready. */
export interface PreparedRouting {
  /** False when it is ready no more: another worker answers by now, or the map was changed by somebody else. */
  commit(): Promise<boolean>;
  abandon(): Promise<void>;
}

/** What HAProxy does with the site's addresses now. */
export class RuntimeRouting {
  readonly #map: RuntimeMap;
  readonly #site: Site;
  readonly #backends: Backends;

  constructor(map: RuntimeMap, site: Site, backends: Backends) {
    this.#map = map;
    this.#site = site;
    this.#backends = backends;
  }

  async read(signal?: AbortSignal): Promise<{ routing: Routing; generation: string }> {
    const { worker, entries } = await this.#map.read(signal);
    return { routing: routingOf(entries, this.#site, this.#backends), generation: worker.generation };
  }

  async prepare(to: Routing, signal?: AbortSignal): Promise<PreparedRouting> {
    const { entries } = await this.#map.read(signal);
    const prepared = await this.#map.prepare(withRouting(entries, to, this.#site, this.#backends), signal);
    return {
      commit: async () => {
        const now = await this.#map.read();
        return sameEntries(now.entries, entries) && (await this.#map.commit(prepared));
      },
      abandon: () => this.#map.abandon(prepared),
    };
  }
}

function sameEntries(some: readonly MapEntry[], others: readonly MapEntry[]): boolean {
  return (
    some.length === others.length &&
    some.every(({ key, value }, at) => others[at]?.key === key && others[at].value === value)
  );
}
