import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { DoppelError, EXIT } from "../../errors.ts";
import { type DatabaseAddress, describeAddress } from "./address.ts";
import type { MigrationSession, RunLimits } from "./engine.ts";
import { engineOf } from "./engines.ts";
import { type SafetyCopy, verifySafetyCopy } from "./safety-copy.ts";
import type { MigrationVerdict, StatementVerdict } from "./verdict.ts";

export interface ExpandLimits extends RunLimits {
  /** How often a statement that did not get its lock is tried. */
  attempts: number;
  /** Before the second attempt; twice as long before each one after it, at most 30 s. */
  backoffMs: number;
}

/** Short enough that nobody notices who waits behind a statement that waits. */
export const EXPAND_LIMITS: ExpandLimits = {
  lockTimeoutMs: 1000,
  statementTimeoutMs: 30_000,
  attempts: 10,
  backoffMs: 500,
};

const LONGEST_BACKOFF_MS = 30_000;

/** How many of a migration's statements a database's ledger has as done. */
export async function expansionState(
  address: DatabaseAddress,
  migration: MigrationVerdict,
): Promise<{ done: number; total: number }> {
  const ledger = await engineOf(address).ledger(address);
  const digest = migrationDigest(migration);
  const keys = migration.statements.flatMap(({ run }, index) =>
    run === "skip" ? [] : [`${digest}:${index}`],
  );
  return { done: keys.filter((key) => ledger.get(key) === "done").length, total: keys.length };
}

/** What happened to a statement: `ran` comes before it is known to be recorded, `waits` before another attempt. */
export interface ExpandEvent {
  step: "begin" | "ran" | "done" | "already" | "waits";
  index: number;
  statement: StatementVerdict;
  blockers?: readonly string[];
}

export interface ExpandOptions {
  limits?: Partial<ExpandLimits>;
  onEvent?: (event: ExpandEvent) => void;
  /** Called before each statement that is to be run and before each further attempt, and awaited: what it throws ends the run there. */
  between?: (statement: StatementVerdict) => Promise<void>;
  signal?: AbortSignal;
}

/** What became of a statement that is run. */
export interface ExpandedStatement {
  statement: string;
  line: number;
  /** False when an earlier run had done it. */
  ran: boolean;
  attempts: number;
  seconds: number;
}

/**
 * Applies an additive migration, statement by statement. What an earlier run has done, by the ledger in the database, is not
 * done again; a run that was killed goes on where it was.
 *
 * Throws `migration-refused`, `expansion-running` (exit 3), `lock-held` with who holds it, `database-failed`.
 */
export async function applyMigration(
  address: DatabaseAddress,
  migration: MigrationVerdict,
  options: ExpandOptions = {},
): Promise<ExpandedStatement[]> {
  refuseNotAdditive(migration);
  const limits = { ...EXPAND_LIMITS, ...options.limits };
  await using session = await engineOf(address).migrate(address);
  await take(session, address, limits, options.signal);
  const digest = migrationDigest(migration);
  const results: ExpandedStatement[] = [];
  for (const [index, statement] of migration.statements.entries()) {
    if (statement.run === "skip") continue;
    options.signal?.throwIfAborted();
    const key = `${digest}:${index}`;
    results.push(await runStatement(session, address, { statement, index, key }, limits, options));
  }
  return results;
}

interface Step {
  statement: StatementVerdict;
  index: number;
  key: string;
}

async function runStatement(
  session: MigrationSession,
  address: DatabaseAddress,
  { statement, index, key }: Step,
  limits: ExpandLimits,
  { onEvent, between, signal }: ExpandOptions,
): Promise<ExpandedStatement> {
  const tell = (step: ExpandEvent["step"], blockers?: string[]) =>
    onEvent?.({ step, index, statement, ...(blockers === undefined ? {} : { blockers }) });
  const started = performance.now();
  const result = { statement: statement.statement, line: statement.line };
  if ((await session.state(statement, key)) === "done") {
    tell("already");
    return { ...result, ran: false, attempts: 0, seconds: 0 };
  }
  tell("begin");
  for (let attempt = 1; ; attempt += 1) {
    await between?.(statement);
    try {
      await session.run(statement, key, limits, () => tell("ran"));
      tell("done");
      const seconds = Math.round(performance.now() - started) / 1000;
      return { ...result, ran: true, attempts: attempt, seconds };
    } catch (error) {
      if (!session.isLockTimeout(error)) throw error;
      const blockers = await session.blockers(statement);
      if (attempt >= limits.attempts) throw lockHeld(address, statement, attempt, blockers, error);
      tell("waits", blockers);
      await sleep(backoff(limits, attempt), undefined, signal === undefined ? {} : { signal });
    }
  }
}

/** A session that was killed may hold the right to migrate until the server notices. */
async function take(
  session: MigrationSession,
  address: DatabaseAddress,
  limits: ExpandLimits,
  signal?: AbortSignal,
): Promise<void> {
  for (let attempt = 1; !(await session.take()); attempt += 1) {
    if (attempt >= limits.attempts) {
      throw new DoppelError(
        "expansion-running",
        `${describeAddress(address)} is being expanded by somebody else`,
        {
          hint: "wait until that is done",
          exitCode: EXIT.refused,
        },
      );
    }
    await sleep(backoff(limits, attempt), undefined, signal === undefined ? {} : { signal });
  }
}

const backoff = (limits: ExpandLimits, attempt: number): number =>
  Math.min(limits.backoffMs * 2 ** (attempt - 1), LONGEST_BACKOFF_MS);

function refuseNotAdditive({ statements, refused }: MigrationVerdict): void {
  if (refused === 0) return;
  const bad = statements.filter(({ verdict }) => verdict === "refused");
  const what = bad.map(({ line, statement, reason }) => `line ${line}: ${statement}: ${reason}`);
  throw new DoppelError("migration-refused", `the migration is not additive: ${what.join("; ")}`, {
    hint: "doppel farm migration FILE names what to write instead",
    exitCode: EXIT.refused,
    details: {
      refused: bad.map(({ line, statement, reason, alternative }) => ({
        line,
        statement,
        reason,
        alternative,
      })),
    },
  });
}

/**
 * Holds a database to its safety copy before it is changed: `no-safety-copy` (exit 3) when there is none of this database or
 * its restore was not rehearsed, `copy-corrupt` (exit 4) when its file is not what was written.
 */
export async function requireSafetyCopy(live: DatabaseAddress, copy: SafetyCopy | undefined): Promise<void> {
  const facts = await engineOf(live).facts(live);
  const why =
    copy === undefined
      ? "there is none"
      : copy.rehearsal === undefined
        ? "its restore was not rehearsed"
        : copy.identity !== facts.identity
          ? "it is a copy of another database"
          : undefined;
  if (why !== undefined || copy === undefined) {
    throw new DoppelError(
      "no-safety-copy",
      `${describeAddress(live)} needs a safety copy first: ${why ?? ""}`,
      {
        hint: "make one, with its rehearsal",
        exitCode: EXIT.refused,
      },
    );
  }
  await verifySafetyCopy(copy);
}

function lockHeld(
  address: DatabaseAddress,
  { statement, line, locks }: StatementVerdict,
  attempts: number,
  blockers: readonly string[],
  cause: unknown,
): DoppelError {
  const who = blockers.length === 0 ? "it is not known who holds it" : `held by ${blockers.join("; ")}`;
  const on = [...new Set(locks.map((lock) => lock.on))].join(", ");
  return new DoppelError(
    "lock-held",
    `${describeAddress(address)}: line ${line}, ${statement}: no lock on ${on || "what it needs"} in ${attempts} attempts, ${who}`,
    { hint: "end that session, or try again later; what was done stays done", cause, details: { blockers } },
  );
}

/** The same file gives the same digest, whatever its comments between statements. */
export function migrationDigest({ statements }: MigrationVerdict): string {
  const hash = createHash("sha256");
  for (const { sql } of statements) hash.update(sql).update("\0");
  return hash.digest("hex").slice(0, 32);
}
