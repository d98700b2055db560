import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type Database from "better-sqlite3";
import { DoppelError, EXIT } from "../errors.ts";

interface LeaseRow {
  kind: string;
  key: string;
  pid: number;
  process_start: string;
  created: string;
  sequence: number;
}

/** A claim of this process; it ends with `release`, or when the process is gone. */
export interface Lease extends AsyncDisposable {
  release(): void;
}

/** A living process that works with the store. */
export interface Holder {
  pid: number;
  /** RFC 3339. */
  since: string;
}

/** The process may have found blobs that nothing names yet, and relies on them. */
const WORK = "work";
/** The process uses an image; the key is its digest and a word of its own. */
const USE = "use";

/**
 * What this process has claimed in the store, in the catalog's table of leases. Each has a number from one sequence, so that
 * what began before what can be told whatever the clock does.
 */
export class Leases {
  readonly #database: Database.Database;
  /** Tells the claims of this opened store from those of another one in the same process. */
  readonly #word = `${process.pid}-${randomBytes(6).toString("hex")}`;
  readonly #mine = { pid: process.pid, start: processStart(process.pid) ?? "" };
  readonly #uses = new Set<string>();
  #works = false;

  constructor(database: Database.Database) {
    this.#database = database;
  }

  /**
   * Claims `key` for this process alone. Fails with `name-busy` (exit 3) when a living process holds it; the claim of a dead
   * one is taken over.
   */
  claim(kind: string, key: string): Lease {
    this.#write(() => {
      const holder = this.#database
        .prepare<[string, string], LeaseRow>("SELECT * FROM leases WHERE kind = ? AND key = ?")
        .get(kind, key);
      if (holder && isAlive(holder)) throw busy(kind, key, holder);
      this.#insert(kind, key);
    });
    const release = () => this.#write(() => this.#delete(kind, key));
    return { release, [Symbol.asyncDispose]: async () => release() };
  }

  /** Says, once, that this process may rely on blobs that nothing names yet: from now on none of them is unlinked. */
  work(): void {
    if (this.#works) return;
    this.#write(() => this.#insert(WORK, this.#word));
    this.#works = true;
  }

  /** Keeps the image that `find` finds, while this store is open; finding and keeping are one step. Returns its digest. */
  use(find: () => string | undefined): string | undefined {
    let digest: string | undefined;
    this.#write(() => {
      digest = find();
      if (digest !== undefined) this.#insert(USE, `${digest} ${this.#word}`);
    });
    if (digest !== undefined) this.#uses.add(digest);
    return digest;
  }

  /** Gives up what `work` and `use` have claimed. */
  close(): void {
    if (!this.#works && this.#uses.size === 0) return;
    this.#write(() => {
      this.#delete(WORK, this.#word);
      for (const digest of this.#uses) this.#delete(USE, `${digest} ${this.#word}`);
    });
    this.#works = false;
    this.#uses.clear();
  }

  /** Runs a change that need not outlast a power cut: a lease does not, either. */
  #write(change: () => void): void {
    this.#database.pragma("synchronous = NORMAL");
    try {
      this.#database.transaction(change).immediate();
    } finally {
      this.#database.pragma("synchronous = FULL");
    }
  }

  #insert(kind: string, key: string): void {
    this.#database
      .prepare(
        "INSERT OR REPLACE INTO leases (kind, key, pid, process_start, created, sequence) VALUES (?, ?, ?, ?, ?, ?)",
      )
      .run(
        kind,
        key,
        this.#mine.pid,
        this.#mine.start,
        new Date().toISOString(),
        nextSequence(this.#database),
      );
  }

  #delete(kind: string, key: string): void {
    this.#database
      .prepare("DELETE FROM leases WHERE kind = ? AND key = ? AND pid = ? AND process_start = ?")
      .run(kind, key, this.#mine.pid, this.#mine.start);
  }
}

/** The next number of the catalog's sequence, which is at least `atLeast`; inside a write transaction. */
export function nextSequence(database: Database.Database, atLeast = 0): number {
  const row = database
    .prepare<[number], { value: number }>(
      "UPDATE state SET value = max(value + 1, ?) WHERE name = 'sequence' RETURNING value",
    )
    .get(atLeast);
  if (!row) throw new Error("the catalog has a sequence");
  return row.value;
}

/** The living process that has worked the longest with blobs that nothing names, of those that began before `sequence`. */
export function workBefore(database: Database.Database, sequence: number): Holder | undefined {
  const holder = liveLeases(database).find((row) => row.kind === WORK && row.sequence < sequence);
  return holder && { pid: holder.pid, since: holder.created };
}

/** The living processes that use images, by digest. */
export function imageUsers(database: Database.Database): Map<string, Holder[]> {
  const users = new Map<string, Holder[]>();
  for (const { kind, key, pid, created: since } of liveLeases(database)) {
    if (kind !== USE) continue;
    const digest = key.slice(0, key.indexOf(" "));
    users.set(digest, [...(users.get(digest) ?? []), { pid, since }]);
  }
  return users;
}

/** Forgets the claims of dead processes; inside a write transaction. */
export function dropDeadLeases(database: Database.Database): void {
  const drop = database.prepare("DELETE FROM leases WHERE kind = ? AND key = ?");
  for (const row of allLeases(database)) if (!isAlive(row)) drop.run(row.kind, row.key);
}

/** Process numbers of living processes that have claimed anything. */
export function leaseHolders(database: Database.Database): Set<number> {
  return new Set(liveLeases(database).map(({ pid }) => pid));
}

/** True while the process that `pid` named when it was recorded still runs. */
export function isProcessAlive(pid: number, start?: string): boolean {
  const now = processStart(pid);
  return now !== undefined && (start === undefined || start === now);
}

function allLeases(database: Database.Database): LeaseRow[] {
  return database.prepare<[], LeaseRow>("SELECT * FROM leases ORDER BY sequence").all();
}

function liveLeases(database: Database.Database): LeaseRow[] {
  return allLeases(database).filter(isAlive);
}

function isAlive(holder: LeaseRow): boolean {
  return isProcessAlive(holder.pid, holder.process_start);
}

/** Boot and start time of a process, which together name it for good (proc(5), /proc/PID/stat, field 22). */
export function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie has ended; only its parent has not asked how.
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
    return `${boot}/${fields[19]}`;
  } catch {
    return undefined;
  }
}

function busy(kind: string, key: string, holder: LeaseRow): DoppelError {
  return new DoppelError(
    "name-busy",
    `the ${kind} ${key} is being made already (process ${holder.pid}, since ${holder.created})`,
    {
      hint: "wait for it, stop it, or choose another name",
      exitCode: EXIT.refused,
    },
  );
}
