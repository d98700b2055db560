import { describeRouting, type Routing, sameRouting } from "./routing.ts";

/** What a router can do beyond being switched. `rehearsal`: lead the shadow address to the old side while the live one does, too. */
export const ABILITIES = ["canary", "statistics", "drain", "rehearsal"] as const;
export type Ability = (typeof ABILITIES)[number];

/** A failure as data, for a journal. */
export interface Problem {
  code: string;
  message: string;
}

/** What a router does now and what it would do after a restart. Missing means that it could not be read: see `problems`. */
export interface RouterState {
  router: string;
  runtime?: Routing;
  persisted?: Routing;
  /** Both are known and the same. */
  agree: boolean;
  /** Changes when the router's counters start from zero again: the process that answered. */
  generation?: string;
  problems: Problem[];
}

/** In one line, with what would be otherwise after a restart. */
export function describeState({ router, runtime, persisted, problems }: RouterState): string {
  const now = runtime ? describeRouting(runtime) : (problems[0]?.message ?? "it does not answer");
  const later =
    persisted && !sameRouting(runtime, persisted) ? `; ${describeRouting(persisted)} after a restart` : "";
  return `${router}: ${now}${later}`;
}

/** Counters of one side since the router's `generation` began. */
export interface SideCounters {
  requests: number;
  /** Responses of status 500 to 599, the router's own among them, and responses cut short by a server. */
  errors: number;
  /** Responses of status 400 to 499. */
  clientErrors: number;
  /** Mean time until a server answered, over the router's latest requests; missing when it does not know. */
  responseMs?: number;
  /** Requests and tunnels (websockets) that have not ended; missing when the router does not know. */
  inFlight?: number;
  /** Servers that the router sends requests to; missing when it does not know. */
  serversUp?: number;
}

export interface RouterStatistics {
  router: string;
  generation: string;
  /** Of a monotonic clock. */
  takenAtMs: number;
  routing: Routing;
  sides: { old: SideCounters; new: SideCounters };
}

/** The points that a change passes on one router, in the order of their happening (docs/routers.md). */
export type ChangePoint = "prepared" | "committed" | "persisted" | "verified";

export interface ChangeOptions {
  /** Called after each point and awaited; what it throws ends the change there. */
  onPoint?: (router: string, point: ChangePoint) => Promise<void> | void;
  /** How long a commit may take when the router restarts or reloads in the middle of it; default 10,000. */
  settleMs?: number;
  signal?: AbortSignal;
}

/** A change that a router is ready to make. Nothing of it is visible before `commit`. */
export interface PreparedChange {
  /** Makes the change visible and durable. Throws `router-unsettled` when it cannot be shown to be both. */
  commit(): Promise<void>;
  /** Forgets the change. */
  abandon(): Promise<void>;
}

/** What leads a site's two addresses to its two sides. */
export interface Router extends AsyncDisposable {
  readonly name: string;
  readonly abilities: ReadonlySet<Ability>;
  /** Looks, and changes nothing. What cannot be read becomes a problem of the result. */
  probe(signal?: AbortSignal): Promise<RouterState>;
  /** Does everything of a change that can fail. Throws when the router should not, or cannot, be changed. */
  prepare(to: Routing, options?: ChangeOptions): Promise<PreparedChange>;
  /**
   * Makes `to` both what the router does and what it would do after a restart, whatever it does now; tries again
   * while the router is gone or reloads, for at most `timeoutMs`. Throws `router-unsettled` after that.
   */
  reconcile(to: Routing, timeoutMs: number, options?: ChangeOptions): Promise<RouterState>;
  /** Throws `router-cannot` where there is no ability `statistics`. */
  statistics(signal?: AbortSignal): Promise<RouterStatistics>;
}
