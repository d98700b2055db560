import type mysql from "mysql2/promise";
import type { DatabaseAddress } from "../address.ts";
import type { LedgerState, MigrationSession, RunLimits } from "../engine.ts";
import type { MadeObject, StatementVerdict } from "../verdict.ts";
import { connect, errorNumber, explain, rowsOf } from "./client.ts";

const LOCK_WAIT_TIMEOUT = 1205;
const MIGRATION_LOCK = "doppel_migrations";

const CREATE_LEDGER = `CREATE TABLE IF NOT EXISTS doppel_migrations (
  \`key\` varchar(100) NOT NULL PRIMARY KEY,
  statement varchar(200) NOT NULL,
  state varchar(10) NOT NULL,
  started_at timestamp NOT NULL DEFAULT current_timestamp,
  done_at timestamp NULL) ENGINE=InnoDB CHARACTER SET utf8mb4`;

const PROBES: Readonly<Record<MadeObject["kind"], string>> = {
  table: "SELECT 1 FROM information_schema.tables WHERE table_schema = database() AND table_name = ?",
  view: "SELECT 1 FROM information_schema.views WHERE table_schema = database() AND table_name = ?",
  column:
    "SELECT 1 FROM information_schema.columns WHERE table_schema = database() AND column_name = ? AND table_name = ?",
  index:
    "SELECT 1 FROM information_schema.statistics WHERE table_schema = database() AND index_name = ? AND table_name = ?",
};

/**
 * Applies statements to a MariaDB or MySQL database. A change of the schema commits by itself, so it is recorded before and
 * after; one that was begun is looked up in the catalog.
 */
export class MysqlMigrationSession implements MigrationSession {
  readonly #address: DatabaseAddress;
  readonly #connection: mysql.Connection;

  private constructor(address: DatabaseAddress, connection: mysql.Connection) {
    this.#address = address;
    this.#connection = connection;
  }

  static async open(address: DatabaseAddress): Promise<MysqlMigrationSession> {
    return new MysqlMigrationSession(address, await connect(address));
  }

  async take(): Promise<boolean> {
    const name = `${MIGRATION_LOCK}.${this.#address.database}`.slice(0, 64);
    const [row] = await rowsOf<{ taken: number }>(this.#connection, "SELECT get_lock(?, 0) AS taken", [name]);
    if (Number(row?.taken) !== 1) return false;
    await this.#connection.query(CREATE_LEDGER);
    return true;
  }

  async state(_: StatementVerdict, key: string): Promise<LedgerState> {
    const [row] = await rowsOf<{ state: LedgerState }>(
      this.#connection,
      "SELECT state FROM doppel_migrations WHERE `key` = ?",
      [key],
    );
    return row?.state ?? "new";
  }

  async run(statement: StatementVerdict, key: string, limits: RunLimits, onRun: () => void): Promise<void> {
    try {
      const seconds = Math.max(1, Math.ceil(limits.lockTimeoutMs / 1000));
      await this.#connection.query(`SET SESSION lock_wait_timeout = ${seconds}`);
      await this.#connection.query(`SET SESSION innodb_lock_wait_timeout = ${seconds}`);
      if (statement.run === "alone") await this.#runAlone(statement, key, onRun);
      else await this.#runInTransaction(statement, key, onRun);
    } catch (error) {
      if (this.isLockTimeout(error)) throw error;
      throw explain(error, this.#address);
    }
  }

  async #runInTransaction(statement: StatementVerdict, key: string, onRun: () => void): Promise<void> {
    await this.#connection.beginTransaction();
    try {
      await this.#connection.query(statement.sql);
      await this.#record(statement, key, "done");
      onRun();
      await this.#connection.commit();
    } catch (error) {
      await this.#connection.rollback().catch(() => {});
      throw error;
    }
  }

  async #runAlone(statement: StatementVerdict, key: string, onRun: () => void): Promise<void> {
    const begun = (await this.state(statement, key)) === "started";
    await this.#record(statement, key, "started");
    if (!begun || !(await this.#isThere(statement.makes))) await this.#connection.query(statement.sql);
    onRun();
    await this.#record(statement, key, "done");
  }

  /** One statement is done wholly or not at all, so that what it makes is there or not. */
  async #isThere(makes: readonly MadeObject[]): Promise<boolean> {
    for (const { kind, name, table } of makes) {
      const rows = await rowsOf(this.#connection, PROBES[kind], [
        name,
        ...(table === undefined ? [] : [table]),
      ]);
      if (rows.length === 0) return false;
    }
    return makes.length > 0;
  }

  async #record(statement: StatementVerdict, key: string, state: LedgerState): Promise<void> {
    await this.#connection.query(
      "INSERT INTO doppel_migrations (`key`, statement, state, done_at) VALUES (?, ?, ?, if(? = 'done', now(), NULL))" +
        " ON DUPLICATE KEY UPDATE state = values(state), done_at = values(done_at)",
      [key, statement.statement, state, state],
    );
  }

  isLockTimeout(error: unknown): boolean {
    return errorNumber(error) === LOCK_WAIT_TIMEOUT;
  }

  async blockers(_: StatementVerdict): Promise<string[]> {
    const rows = await rowsOf<{ who: string }>(
      this.#connection,
      `SELECT concat('connection ', p.id, ' of ', p.user, '@', p.host, ' in a transaction since ', t.trx_started, ': ',
         coalesce(left(p.info, 80), 'idle')) AS who
       FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
       WHERE p.db = database() AND p.id <> connection_id() ORDER BY t.trx_started LIMIT 3`,
    );
    return rows.map(({ who }) => who);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.end().catch(() => {});
  }
}
