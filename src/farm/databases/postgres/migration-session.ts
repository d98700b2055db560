import type pg from "pg";
import type { DatabaseAddress } from "../address.ts";
import type { LedgerState, MigrationSession, RunLimits } from "../engine.ts";
import type { StatementVerdict } from "../verdict.ts";
import { connect, explain, quoted, sqlState } from "./client.ts";

const LOCK_NOT_AVAILABLE = "55P03";
/** Any number, the same for all: who holds this advisory lock migrates. */
const MIGRATION_LOCK = 0x646f7070;

const CREATE_LEDGER = `CREATE TABLE IF NOT EXISTS doppel_migrations (
  key text PRIMARY KEY,
  statement text NOT NULL,
  state text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  done_at timestamptz)`;

/** Applies statements to a PostgreSQL database; a statement and its ledger row are one transaction where that can be. */
export class PostgresMigrationSession implements MigrationSession {
  readonly #address: DatabaseAddress;
  readonly #client: pg.Client;

  private constructor(address: DatabaseAddress, client: pg.Client) {
    this.#address = address;
    this.#client = client;
  }

  static async open(address: DatabaseAddress): Promise<PostgresMigrationSession> {
    return new PostgresMigrationSession(address, await connect(address));
  }

  async take(): Promise<boolean> {
    const { rows } = await this.#client.query<{ taken: boolean }>(
      "SELECT pg_try_advisory_lock($1) AS taken",
      [MIGRATION_LOCK],
    );
    if (rows[0]?.taken !== true) return false;
    await this.#client.query(CREATE_LEDGER);
    return true;
  }

  async state(_: StatementVerdict, key: string): Promise<LedgerState> {
    const { rows } = await this.#client.query<{ state: LedgerState }>(
      "SELECT state FROM doppel_migrations WHERE key = $1",
      [key],
    );
    return rows[0]?.state ?? "new";
  }

  async run(statement: StatementVerdict, key: string, limits: RunLimits, onRun: () => void): Promise<void> {
    try {
      if (statement.run === "alone") await this.#runAlone(statement, key, limits, onRun);
      else await this.#runInTransaction(statement, key, limits, onRun);
    } catch (error) {
      if (this.isLockTimeout(error)) throw error;
      throw explain(error, this.#address);
    }
  }

  async #runInTransaction(
    statement: StatementVerdict,
    key: string,
    limits: RunLimits,
    onRun: () => void,
  ): Promise<void> {
    const client = this.#client;
    await client.query("BEGIN");
    try {
      await client.query(`SET LOCAL lock_timeout = ${limits.lockTimeoutMs}`);
      await client.query(`SET LOCAL statement_timeout = ${limits.statementTimeoutMs}`);
      await client.query(statement.sql);
      await this.#record(statement, key, "done");
      onRun();
      await client.query("COMMIT");
    } catch (error) {
      await client.query("ROLLBACK").catch(() => {});
      throw error;
    }
  }

  /** A concurrent index: one that was begun and is whole is done, one that is invalid is built anew. */
  async #runAlone(
    statement: StatementVerdict,
    key: string,
    limits: RunLimits,
    onRun: () => void,
  ): Promise<void> {
    const begun = (await this.state(statement, key)) === "started";
    await this.#record(statement, key, "started");
    await this.#client.query(`SET lock_timeout = ${limits.lockTimeoutMs}`);
    if (begun && (await this.#indexState(statement)) === "invalid") await this.#dropIndex(statement);
    if (!begun || (await this.#indexState(statement)) === "missing") await this.#client.query(statement.sql);
    onRun();
    await this.#record(statement, key, "done");
  }

  async #indexState(statement: StatementVerdict): Promise<"missing" | "invalid" | "valid"> {
    const { rows } = await this.#client.query<{ valid: boolean }>(
      "SELECT indisvalid AS valid FROM pg_index WHERE indexrelid = to_regclass($1)",
      [this.#indexName(statement)],
    );
    if (rows[0] === undefined) return "missing";
    return rows[0].valid ? "valid" : "invalid";
  }

  async #dropIndex(statement: StatementVerdict): Promise<void> {
    await this.#client.query(`DROP INDEX CONCURRENTLY IF EXISTS ${this.#indexName(statement)}`);
  }

  /** An index is made in the schema of its table. */
  #indexName({ makes }: StatementVerdict): string {
    const index = makes.find(({ kind }) => kind === "index");
    const schema = (index?.table ?? "").split(".").slice(0, -1);
    return [...schema, index?.name ?? ""].map(quoted).join(".");
  }

  async #record(statement: StatementVerdict, key: string, state: LedgerState): Promise<void> {
    await this.#client.query(
      `INSERT INTO doppel_migrations (key, statement, state, done_at)
         VALUES ($1, $2, $3, CASE WHEN $3 = 'done' THEN now() END)
       ON CONFLICT (key) DO UPDATE SET state = excluded.state, done_at = excluded.done_at`,
      [key, statement.statement, state],
    );
  }

  isLockTimeout(error: unknown): boolean {
    return sqlState(error) === LOCK_NOT_AVAILABLE;
  }

  async blockers({ locks }: StatementVerdict): Promise<string[]> {
    const { rows } = await this.#client.query<{ who: string }>(
      `SELECT DISTINCT ON (a.xact_start, a.pid) format('process %s of %s (%s, %s) since %s: %s', a.pid, a.usename,
         coalesce(nullif(a.application_name, ''), 'no application name'), a.state, a.xact_start, left(a.query, 80)) AS who
       FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
       WHERE l.granted AND l.relation = ANY (SELECT to_regclass(t) FROM unnest($1::text[]) t)
         AND a.pid <> pg_backend_pid() ORDER BY a.xact_start, a.pid LIMIT 3`,
      [locks.map(({ on }) => on)],
    );
    return rows.map(({ who }) => who);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end().catch(() => {});
  }
}
