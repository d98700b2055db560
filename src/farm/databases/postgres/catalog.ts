import type pg from "pg";
import type { Activity } from "../activity.ts";
import type { DatabaseFacts, DatabaseSession, LedgerState } from "../engine.ts";
import { quoted } from "./client.ts";

const USER_TABLES = `SELECT format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
    AND c.relpersistence <> 't' ORDER BY 1`;

export async function facts(client: pg.Client): Promise<DatabaseFacts> {
  const { rows } = await client.query<{ version: string; size: string; now: Date; identity: string }>(
    `SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS size, now() AS now,
       (SELECT system_identifier FROM pg_control_system()) || '/' || oid AS identity
     FROM pg_database WHERE datname = current_database()`,
  );
  const row = rows[0];
  return {
    version: row?.version ?? "",
    sizeBytes: Number(row?.size ?? 0),
    now: row?.now.toISOString() ?? "",
    identity: row?.identity ?? "",
  };
}

export async function sessions(client: pg.Client): Promise<DatabaseSession[]> {
  const { rows } = await client.query<DatabaseSession>(
    `SELECT coalesce(host(client_addr), 'local') AS "clientAddress", coalesce(usename, '') AS user,
       application_name AS application, count(*)::int AS count
     FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`,
  );
  return rows;
}

/** The server's own counters of rows; a session that stays connected reports them after ten idle seconds at most. */
export async function activity(client: pg.Client): Promise<Activity> {
  const { rows } = await client.query<{ now: Date; name: string; i: string; u: string; d: string }>(
    `SELECT clock_timestamp() AS now, format('%I.%I', schemaname, relname) AS name, n_tup_ins AS i, n_tup_upd AS u, n_tup_del AS d
     FROM pg_stat_user_tables WHERE relname <> 'doppel_migrations'`,
  );
  const at =
    rows[0]?.now ?? (await client.query<{ now: Date }>("SELECT clock_timestamp() AS now")).rows[0]?.now;
  return {
    at: at?.toISOString() ?? "",
    source: "counters",
    tables: Object.fromEntries(
      rows.map(({ name, i, u, d }) => [
        name,
        { inserted: Number(i), updated: Number(u), deleted: Number(d) },
      ]),
    ),
  };
}

export async function ledger(client: pg.Client): Promise<Map<string, LedgerState>> {
  const there = await client.query("SELECT 1 WHERE to_regclass('doppel_migrations') IS NOT NULL");
  if (there.rows.length === 0) return new Map();
  const { rows } = await client.query<{ key: string; state: LedgerState }>(
    "SELECT key, state FROM doppel_migrations",
  );
  return new Map(rows.map(({ key, state }) => [key, state]));
}

/** Rows of every table, in the snapshot of the client's transaction. */
export async function countRows(client: pg.Client): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  const tables = await client.query<{ name: string }>(USER_TABLES);
  for (const { name } of tables.rows) {
    const { rows } = await client.query<{ count: string }>(`SELECT count(*) AS count FROM ONLY ${name}`);
    counts[name] = Number(rows[0]?.count ?? 0);
  }
  return counts;
}

/** Whether anybody is connected to a database. CREATE DATABASE would wait five seconds to find that out. */
export async function isInUse(client: pg.Client, database: string): Promise<boolean> {
  const { rows } = await client.query("SELECT 1 FROM pg_stat_activity WHERE datname = $1 LIMIT 1", [
    database,
  ]);
  return rows.length > 0;
}

export async function exists(client: pg.Client, database: string): Promise<boolean> {
  const { rows } = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [database]);
  return rows.length > 0;
}

/** The same for every way to a server, and for no other server. */
export async function serverIdentity(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ identity: string }>(
    "SELECT system_identifier::text AS identity FROM pg_control_system()",
  );
  return rows[0]?.identity ?? "";
}

/** A CREATE DATABASE with the encoding and the locale of the database of the connection. */
export async function creation(client: pg.Client, name: string): Promise<string> {
  const { rows } = await client.query<{
    encoding: string;
    collate: string;
    ctype: string;
    icu: string | null;
  }>(
    `SELECT pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype,
       coalesce(to_jsonb(d) ->> 'daticulocale', CASE WHEN datlocprovider = 'i' THEN to_jsonb(d) ->> 'datlocale' END) AS icu
     FROM pg_database d WHERE datname = current_database()`,
  );
  const { encoding = "UTF8", collate = "C", ctype = "C", icu = null } = rows[0] ?? {};
  const provider = icu === null ? "" : ` LOCALE_PROVIDER icu ICU_LOCALE ${client.escapeLiteral(icu)}`;
  return `CREATE DATABASE ${quoted(name)} TEMPLATE template0 ENCODING ${client.escapeLiteral(encoding)}
       LC_COLLATE ${client.escapeLiteral(collate)} LC_CTYPE ${client.escapeLiteral(ctype)}${provider}`;
}
