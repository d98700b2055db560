import { hostname, userInfo } from "node:os";
import { DoppelError, EXIT, systemErrorCode } from "../../errors.ts";
import { unlessFull } from "../../store/full-disk.ts";
import { isProcessAlive, processStart } from "../../store/leases.ts";
import type { JournalEntry, JournalEvent } from "./entry.ts";
import type { Journal, LeaseHolder } from "./journal.ts";
import { keepReserve, useReserve } from "./reserve.ts";

const LEASE_MS = 60_000;
const RENEW_EVERY_MS = LEASE_MS / 4;

export interface LeaseOptions {
  /** Who acts; by default the user, the host and the process. */
  owner?: string;
  leaseMs?: number;
  now?: () => number;
}

/**
 * The right to act on a farm, and the only way to write its journal. It is prolonged while this process lives.
 *
 * Throws `farm-busy` (exit 3) while another one holds it. A lease that has expired, or whose process is known to be dead,
 * is taken over with a higher fencing number; the next write of the one before is then refused with `farm-lease-lost`.
 */
export class FarmLease implements Disposable {
  readonly journal: Journal;
  readonly owner: string;
  readonly fencing: number;
  /** Aborts when the lease is lost. */
  readonly signal: AbortSignal;
  readonly #leaseMs: number;
  readonly #now: () => number;
  readonly #lost = new AbortController();
  readonly #timer: NodeJS.Timeout;

  private constructor(journal: Journal, fencing: number, options: Required<LeaseOptions>) {
    this.journal = journal;
    this.fencing = fencing;
    this.owner = options.owner;
    this.#leaseMs = options.leaseMs;
    this.#now = options.now;
    this.signal = this.#lost.signal;
    // A disk that is full for a while ends no command: the lease runs on, and the next entry says what is wrong.
    this.#timer = setInterval(
      () => unlessFull(() => void this.renew()),
      Math.min(RENEW_EVERY_MS, options.leaseMs / 4),
    );
    this.#timer.unref();
  }

  static take(journal: Journal, options: LeaseOptions = {}): FarmLease {
    const complete = { owner: describeOwner(), leaseMs: LEASE_MS, now: Date.now, ...options };
    const { owner, leaseMs, now } = complete;
    keepReserve(journal.path);
    return journal.transaction(() => {
      const before = journal.holder();
      const why = before && whyOver(before, now());
      if (before && why === undefined) throw busy(journal.farm, before);
      const fencing = journal.setHolder({
        owner,
        acquired: new Date(now()).toISOString(),
        expiresMs: now() + leaseMs,
        pid: process.pid,
        processStart: processStart(process.pid) ?? "",
      });
      const lease = new FarmLease(journal, fencing, complete);
      if (before && why !== undefined)
        lease.append({ kind: "lease-taken-over", owner: before.owner, since: before.acquired, why });
      return lease;
    });
  }

  /** Writes an entry; `farm-lease-lost` (exit 3) when another one has taken over. */
  append(event: JournalEvent): JournalEntry {
    const writer = { owner: this.owner, fencing: this.fencing, time: new Date(this.#now()).toISOString() };
    const entry = this.journal.transaction(() => this.journal.append(event, writer));
    if (entry) return entry;
    throw this.#loseIt();
  }

  /** As `append`, on a full disk with the space that is kept back there. */
  appendAnyway(event: JournalEvent): JournalEntry {
    try {
      return this.append(event);
    } catch (error) {
      if (systemErrorCode(error) !== "ENOSPC") throw error;
      useReserve(this.journal.path);
      return this.append(event);
    }
  }

  /** Prolongs the lease; false, and `signal` aborts, when another one has taken over. */
  renew(): boolean {
    const expiresMs = this.#now() + this.#leaseMs;
    if (this.journal.transaction(() => this.journal.renew(this.fencing, expiresMs))) return true;
    this.#loseIt();
    return false;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    // Without space for it the lease ends with this process.
    unlessFull(() => this.journal.transaction(() => this.journal.release(this.fencing)));
  }

  #loseIt(): DoppelError {
    clearInterval(this.#timer);
    const holder = this.journal.holder();
    const who = holder
      ? `${holder.owner} has acted on it since ${holder.acquired}`
      : "its lease was released";
    const error = new DoppelError(
      "farm-lease-lost",
      `the farm ${this.journal.farm} is no longer ours: ${who}`,
      {
        hint: "see 'doppel farm status' for what happened meanwhile",
        exitCode: EXIT.refused,
      },
    );
    this.#lost.abort(error);
    return error;
  }
}

/** Why a lease no longer holds, or undefined when it does. */
export function whyOver(holder: LeaseHolder, nowMs: number): string | undefined {
  if (holder.expiresMs <= nowMs) return "it had expired";
  const sameBoot = bootOf(holder.processStart) === bootOf(processStart(process.pid) ?? "");
  if (sameBoot && !isProcessAlive(holder.pid, holder.processStart)) return "its process had ended";
  return undefined;
}

function bootOf(start: string): string {
  return start.split("/")[0] ?? "";
}

function describeOwner(): string {
  return `${userInfo().username}@${hostname()} process ${process.pid}`;
}

function busy(farm: string, { owner, acquired, expiresMs, fencing }: LeaseHolder): DoppelError {
  return new DoppelError("farm-busy", `${owner} has acted on the farm ${farm} since ${acquired}`, {
    hint: `wait for it, or stop it; its lease ends at ${new Date(expiresMs).toISOString()} unless prolonged`,
    exitCode: EXIT.refused,
    details: { owner, since: acquired, fencing },
  });
}
