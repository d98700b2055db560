import { type DatabaseAddress, withDatabase } from "../address.ts";
import type { DatabaseContents, DatabaseEngine } from "../engine.ts";
import * as catalog from "./catalog.ts";
import { quoted, withConnection } from "./client.ts";
import { MysqlMigrationSession } from "./migration-session.ts";
import * as programs from "./programs.ts";
import { replace } from "./replace.ts";
import { judgeMysqlMigration } from "./verdict.ts";

const UNKNOWN = Number.NaN;

/** MariaDB and MySQL. */
export const mysql: DatabaseEngine = {
  judge: judgeMysqlMigration,
  facts: (address) => withConnection(address, catalog.facts),
  sessions: (address) => withConnection(address, catalog.sessions),
  activity: (address) => withConnection(address, catalog.activity),
  contents: async (address) => ({
    rows: await withConnection(address, catalog.countRows),
    schema: await programs.schema(address),
  }),
  create: (address, name) =>
    withConnection(address, async (connection) =>
      catalog.createWith(connection, name, await catalog.characterSet(connection)),
    ),
  drop: (address, name) =>
    withConnection(withDatabase(address, "information_schema"), async (connection) => {
      await connection.query(`DROP DATABASE IF EXISTS ${quoted(name)}`);
    }),
  exists: (address) =>
    withConnection(withDatabase(address, "information_schema"), (connection) =>
      catalog.exists(connection, address.database),
    ),
  duplicate: async (from, to, signal) => {
    const like = await withConnection(from, catalog.characterSet);
    await withConnection(withDatabase(to, "information_schema"), (connection) =>
      catalog.createWith(connection, to.database, like),
    );
    await programs.copy(from, to, signal).catch(async (error: unknown) => {
      await mysql.drop(to, to.database);
      throw error;
    });
    return "dump";
  },
  dump,
  load: programs.load,
  replace,
  isReplaced: async (address, replacement, kept) =>
    (await hasTables(withDatabase(address, kept))) && !(await hasTables(withDatabase(address, replacement))),
  dropEmpty: async (address, name) => {
    if (!(await hasTables(withDatabase(address, name)))) await mysql.drop(address, name);
  },
  migrate: (address) => MysqlMigrationSession.open(address),
  ledger: (address) => withConnection(address, catalog.ledger),
};

async function hasTables(address: DatabaseAddress): Promise<boolean> {
  if (!(await mysql.exists(address))) return false;
  return (await withConnection(address, catalog.tableNames)).length > 0;
}

/**
 * The dump has a snapshot of its own, so rows are counted before and after it: where the two differ, the table was written
 * meanwhile and its count in the dump is not known.
 */
async function dump(address: DatabaseAddress, file: string, signal?: AbortSignal): Promise<DatabaseContents> {
  return await withConnection(address, async (connection) => {
    const before = await catalog.countRows(connection);
    await programs.dump(address, file, signal);
    const after = await catalog.countRows(connection);
    const rows = Object.fromEntries(
      Object.entries(after).map(([table, count]) => [table, before[table] === count ? count : UNKNOWN]),
    );
    return { rows, schema: await programs.schema(address) };
  });
}
