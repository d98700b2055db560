import type mysql from "mysql2/promise";
import type { Activity, RowCounters } from "../activity.ts";
import type { DatabaseFacts, DatabaseSession, LedgerState } from "../engine.ts";
import { quoted, rowsOf } from "./client.ts";

const NOW = "date_format(utc_timestamp(6), '%Y-%m-%dT%H:%i:%s.%fZ')";

export async function facts(connection: mysql.Connection): Promise<DatabaseFacts> {
  const [row] = await rowsOf<{ version: string; size: string | null; now: string; name: string }>(
    connection,
    `SELECT version() AS version, ${NOW} AS now, database() AS name,
       (SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = database()) AS size`,
  );
  return {
    version: row?.version ?? "",
    sizeBytes: Number(row?.size ?? 0),
    now: row?.now ?? "",
    identity: `${await serverIdentity(connection)}/${row?.name ?? ""}`,
  };
}

/** MySQL and newer MariaDB have an identity of their own; older ones are told by where they are and since when. */
async function serverIdentity(connection: mysql.Connection): Promise<string> {
  const variables = await rowsOf<{ Variable_name: string; Value: string }>(
    connection,
    `SHOW VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'hostname', 'port', 'datadir')`,
  );
  const value = (name: string) => variables.find((one) => one.Variable_name === name)?.Value;
  return (
    value("server_uuid") ??
    value("server_uid") ??
    ["hostname", "port", "datadir"].map((name) => value(name) ?? "").join(":")
  );
}

export async function sessions(connection: mysql.Connection): Promise<DatabaseSession[]> {
  const rows = await rowsOf<{ clientAddress: string; user: string; count: number }>(
    connection,
    `SELECT substring_index(host, ':', 1) AS clientAddress, user, count(*) AS count FROM information_schema.processlist
     WHERE db = database() AND id <> connection_id() GROUP BY 1, 2 ORDER BY 1, 2`,
  );
  return rows.map((row) => ({ ...row, count: Number(row.count), application: "" }));
}

/** Writes as the performance schema counts them; a server without it only tells how many rows there are. */
export async function activity(connection: mysql.Connection): Promise<Activity> {
  const [row] = await rowsOf<{ now: string; counting: number }>(
    connection,
    `SELECT ${NOW} AS now, @@performance_schema AS counting`,
  );
  const at = row?.now ?? "";
  if (Number(row?.counting) === 1) return { at, source: "counters", tables: await counters(connection) };
  const counts = Object.entries(await countRows(connection));
  const tables = counts.map(([name, rows]) => [name, { inserted: rows, updated: 0, deleted: 0 }] as const);
  return { at, source: "counts", tables: Object.fromEntries(tables) };
}

async function counters(connection: mysql.Connection): Promise<Record<string, RowCounters>> {
  const rows = await rowsOf<{ name: string; inserted: string; updated: string; deleted: string }>(
    connection,
    `SELECT object_name AS name, count_insert AS inserted, count_update AS updated, count_delete AS deleted
     FROM performance_schema.table_io_waits_summary_by_table
     WHERE object_schema = database() AND object_name <> 'doppel_migrations'`,
  );
  return Object.fromEntries(
    rows.map(({ name, inserted, updated, deleted }) => [
      name,
      { inserted: Number(inserted), updated: Number(updated), deleted: Number(deleted) },
    ]),
  );
}

export async function tableNames(connection: mysql.Connection): Promise<string[]> {
  const rows = await rowsOf<{ name: string }>(
    connection,
    `SELECT table_name AS name FROM information_schema.tables
     WHERE table_schema = database() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY 1`,
  );
  return rows.map(({ name }) => name);
}

export async function ledger(connection: mysql.Connection): Promise<Map<string, LedgerState>> {
  if (!(await tableNames(connection)).includes("doppel_migrations")) return new Map();
  const rows = await rowsOf<{ name: string; state: LedgerState }>(
    connection,
    "SELECT `key` AS name, state FROM doppel_migrations",
  );
  return new Map(rows.map(({ name, state }) => [name, state]));
}

export async function countRows(connection: mysql.Connection): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of await tableNames(connection)) {
    const [row] = await rowsOf<{ count: number }>(
      connection,
      `SELECT count(*) AS count FROM ${quoted(name)}`,
    );
    counts[name] = Number(row?.count ?? 0);
  }
  return counts;
}

export async function exists(connection: mysql.Connection, database: string): Promise<boolean> {
  const sql = "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?";
  return (await rowsOf(connection, sql, [database])).length > 0;
}

export interface CharacterSet {
  charset: string;
  collation: string;
}

/** What new tables of the connection's database get. */
export async function characterSet(connection: mysql.Connection): Promise<CharacterSet> {
  const [row] = await rowsOf<CharacterSet>(
    connection,
    `SELECT default_character_set_name AS charset, default_collation_name AS collation
     FROM information_schema.schemata WHERE schema_name = database()`,
  );
  return row ?? { charset: "utf8mb4", collation: "utf8mb4_general_ci" };
}

export async function createWith(
  connection: mysql.Connection,
  name: string,
  like: CharacterSet,
): Promise<void> {
  await connection.query(
    `CREATE DATABASE ${quoted(name)} CHARACTER SET ${like.charset} COLLATE ${like.collation}`,
  );
}
