import type mysql from "mysql2/promise";
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MariadbServer, PostgresServer } from "../../fixtures/databases.ts";
import { MYSQL_CASES, OLD_TABLES, POSTGRES_CASES } from "../../fixtures/migration-cases.ts";
import { judgeMigration } from "../../src/farm/databases/migration.ts";
import type { StatementVerdict } from "../../src/farm/databases/verdict.ts";

const ci = process.env.CI !== undefined;

/** Cannot be shown in a transaction, or need what a test server lacks. */
const NOT_IN_A_TRANSACTION = /CONCURRENTLY|^VACUUM|^CLUSTER|^BEGIN$|^ROLLBACK$|EXTENSION dblink/;

/** What the old version does all day, with the columns that it knows. */
const OLD_WORK = [
  "INSERT INTO accounts (email) VALUES ('new@example.org')",
  "UPDATE accounts SET balance = balance + 1 WHERE id = 2",
  "INSERT INTO orders (account_id, total) VALUES (2, 5)",
  "SELECT id, email, balance FROM accounts WHERE id < 10",
  "SELECT * FROM rich",
  "DELETE FROM orders WHERE account_id = 2",
  "DELETE FROM accounts WHERE id = 3",
];

describe.runIf(ci || PostgresServer.available())("on PostgreSQL", () => {
  let server: PostgresServer;
  let old: pg.Client;
  let migrating: pg.Client;

  beforeAll(async () => {
    server = await PostgresServer.start();
    await server.create("shop", OLD_TABLES.postgres);
    old = await server.connect("shop");
    migrating = await server.connect("shop");
    await old.query("SET lock_timeout = '5s'");
  });
  afterAll(async () => {
    await old?.end();
    await migrating?.end();
    await server?.[Symbol.asyncDispose]();
  });

  /** The strongest lock of the migrating session on each relation that was there before. */
  async function locksOnOldRelations(): Promise<Map<string, string>> {
    const { rows } = await old.query<{ relname: string; mode: string }>(
      `SELECT c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        WHERE l.pid = $1 AND l.granted AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')`,
      [(migrating as unknown as { processID: number }).processID],
    );
    const strongest = new Map<string, string>();
    for (const { relname, mode } of rows.filter((row) => KNOWN.has(row.relname))) {
      const name = mode
        .replace(/Lock$/, "")
        .replace(/([a-z])([A-Z])/g, "$1 $2")
        .toUpperCase();
      const before = strongest.get(relname);
      if (before === undefined || STRENGTH.indexOf(name) > STRENGTH.indexOf(before))
        strongest.set(relname, name);
    }
    return strongest;
  }

  const STRENGTH = [
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
  ];
  const KNOWN = new Set(["accounts", "orders", "events", "events_2026", "rich"]);

  /** Locks that no writer waits for are not named in a verdict. */
  const HARMLESS = new Set(["ACCESS SHARE", "ROW SHARE"]);

  /** Runs the statements, looks at the locks, does the old version's work, and takes all back. */
  async function tryOut(statements: readonly StatementVerdict[]): Promise<[string, string][]> {
    await migrating.query("BEGIN");
    try {
      for (const { sql } of statements) await migrating.query(sql);
      const locks = await locksOnOldRelations();
      if (statements.at(-1)?.verdict === "additive") {
        for (const work of OLD_WORK) await migrating.query(work);
      }
      return [...locks].filter(([, mode]) => !HARMLESS.has(mode));
    } finally {
      await migrating.query("ROLLBACK");
    }
  }

  for (const sql of POSTGRES_CASES.filter((one) => !NOT_IN_A_TRANSACTION.test(one))) {
    it(`is judged rightly: ${sql}`, async () => {
      const { statements } = await judgeMigration(sql, "postgres");
      const taken = await tryOut(statements);
      const named = statements.flatMap(({ locks }) =>
        locks.map(({ on, mode }): [string, string] => [on, mode]),
      );
      const expected = [...new Map(named.filter(([on]) => KNOWN.has(on)))].sort();
      if (/^DROP TABLE/.test(sql)) expect(taken).toEqual(expect.arrayContaining(expected));
      else expect(taken.sort()).toEqual(expected);
    });
  }

  it("lets the old version write while an index is built concurrently", async () => {
    const [index] = POSTGRES_CASES.filter((sql) => /^CREATE INDEX CONCURRENTLY/.test(sql));
    const reader = await server.connect("shop");
    await reader.query("BEGIN; UPDATE accounts SET balance = 7 WHERE id = 9");
    const built = migrating.query(index ?? "");
    const locks = async () => [...(await locksOnOldRelations())];
    await expect.poll(locks, { interval: 20 }).toEqual([["accounts", "SHARE UPDATE EXCLUSIVE"]]);
    for (const work of OLD_WORK) await old.query(work);
    await reader.query("COMMIT");
    await reader.end();
    await built;
  });
});

describe.runIf(ci || MariadbServer.available())("on MariaDB", () => {
  const BLOCKED = 1205;
  let server: MariadbServer;
  let admin: mysql.Connection;

  beforeAll(async () => {
    server = await MariadbServer.start();
    admin = await server.connect("");
    await admin.query("CREATE ROLE reader");
  });
  afterAll(async () => {
    await admin?.end();
    await server?.[Symbol.asyncDispose]();
  });

  /** Whether the statement waits for a transaction of the old version that has read both tables. */
  async function waitsForReaders(migrating: mysql.Connection, sql: string): Promise<boolean> {
    const old = await server.connect("shop");
    await old.query("BEGIN; SELECT * FROM accounts; SELECT * FROM orders");
    try {
      await migrating.query("SET lock_wait_timeout = 0");
      await migrating.query(sql);
      return false;
    } catch (error) {
      if ((error as { errno?: number }).errno === BLOCKED) return true;
      throw error;
    } finally {
      await old.end();
      await migrating.query("SET lock_wait_timeout = 60");
    }
  }

  for (const sql of MYSQL_CASES) {
    it(`is judged rightly: ${sql}`, async () => {
      const { statements } = await judgeMigration(sql, "mysql");
      const last = statements.at(-1);
      if (last?.verdict !== "additive" || last.run === "skip") return;
      await admin.query(`DROP DATABASE IF EXISTS shop; CREATE DATABASE shop; USE shop; ${OLD_TABLES.mysql}`);
      const migrating = await server.connect("shop");
      for (const before of statements.slice(0, -1)) await migrating.query(before.sql);
      const waits = await waitsForReaders(migrating, last.sql);
      expect(waits).toBe(last.locks.some(({ mode }) => !mode.includes("not MariaDB")));
      if (waits) await migrating.query(last.sql);
      for (const work of OLD_WORK) await migrating.query(work);
      await migrating.end();
    });
  }
});
