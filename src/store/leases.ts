import { readFileSync } from "node:fs";
import type Database from "better-sqlite3";
import { DoppelError, EXIT } from "../errors.ts";

interface LeaseRow {
  pid: number;
  process_start: string;
  created: string;
}

/** A claim of this process on a name; it ends with `release`, or when the process is gone. */
export interface Lease extends AsyncDisposable {
  release(): void;
}

/**
 * Claims `key` for this process. Fails with `name-busy` (exit 3) when a living process holds it; the claim of a dead
 * one is taken over.
 */
export function takeLease(database: Database.Database, kind: string, key: string): Lease {
  const mine = { pid: process.pid, start: processStart(process.pid) ?? "" };
  database
    .transaction(() => {
      const holder = database
        .prepare<[string, string], LeaseRow>(
          "SELECT pid, process_start, created FROM leases WHERE kind = ? AND key = ?",
        )
        .get(kind, key);
      if (holder && isAlive(holder)) throw busy(kind, key, holder);
      database
        .prepare(
          "INSERT OR REPLACE INTO leases (kind, key, pid, process_start, created) VALUES (?, ?, ?, ?, ?)",
        )
        .run(kind, key, mine.pid, mine.start, new Date().toISOString());
    })
    .immediate();
  const release = () => {
    database
      .prepare("DELETE FROM leases WHERE kind = ? AND key = ? AND pid = ? AND process_start = ?")
      .run(kind, key, mine.pid, mine.start);
  };
  return { release, [Symbol.asyncDispose]: async () => release() };
}

/** When the oldest lease of a living process began, or undefined when there is none. */
export function oldestLiveLease(database: Database.Database): Date | undefined {
  const rows = database
    .prepare<[], LeaseRow>("SELECT pid, process_start, created FROM leases ORDER BY created")
    .all();
  const oldest = rows.find(isAlive);
  return oldest && new Date(oldest.created);
}

/** True while the process that `pid` named when it was recorded still runs. */
export function isProcessAlive(pid: number, start?: string): boolean {
  const now = processStart(pid);
  return now !== undefined && (start === undefined || start === now);
}

function isAlive(holder: LeaseRow): boolean {
  return isProcessAlive(holder.pid, holder.process_start);
}

/** Boot and start time of a process, which together name it for good (proc(5), /proc/PID/stat, field 22). */
function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
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
