import { MariadbServer, PostgresServer } from "../../fixtures/databases.ts";
import { OLD_TABLES } from "../../fixtures/migration-cases.ts";
import { type DatabaseAddress, parseDatabaseUrl } from "../../src/farm/databases/address.ts";

const ci = process.env.CI !== undefined;

/** The kinds of server that a promise is kept on, and what starts one. */
export const SERVERS = [
  { engine: "postgres", start: () => PostgresServer.start(), possible: ci || PostgresServer.available() },
  { engine: "mysql", start: () => MariadbServer.start(), possible: ci || MariadbServer.available() },
] as const;

export type DatabaseServer = PostgresServer | MariadbServer;

export interface Sql {
  (sql: string): Promise<Record<string, unknown>[]>;
  end(): Promise<void>;
}

/** A connection that answers with rows, the same for both engines. */
export async function sqlOf(server: DatabaseServer, database: string): Promise<Sql> {
  if (server instanceof PostgresServer) {
    const client = await server.connect(database);
    client.on("error", () => {});
    return Object.assign(async (sql: string) => (await client.query(sql)).rows, { end: () => client.end() });
  }
  const connection = await server.connect(database);
  const query = async (sql: string) => (await connection.query(sql))[0] as Record<string, unknown>[];
  return Object.assign(query, { end: () => connection.end() });
}

/** A new database with the tables of the old version. */
export async function shop(server: DatabaseServer, name: string): Promise<DatabaseAddress> {
  const tables = server instanceof PostgresServer ? OLD_TABLES.postgres : OLD_TABLES.mysql;
  await server.create(name, tables);
  return parseDatabaseUrl(server.url(name));
}

/** Databases of the server whose name begins so. */
export async function databases(server: DatabaseServer, beginning: string): Promise<string[]> {
  const sql = await sqlOf(server, server instanceof PostgresServer ? "postgres" : "mysql");
  const from =
    server instanceof PostgresServer
      ? "SELECT datname AS name FROM pg_database"
      : "SELECT schema_name AS name FROM information_schema.schemata";
  const rows = await sql(from);
  await sql.end();
  return rows.map(({ name }) => String(name)).filter((name) => name.startsWith(beginning));
}
