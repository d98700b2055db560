import { type DatabaseAddress, withDatabase } from "../address.ts";
import type { DatabaseContents, DatabaseEngine } from "../engine.ts";
import * as catalog from "./catalog.ts";
import { quoted, sqlState, withClient } from "./client.ts";
import { PostgresMigrationSession } from "./migration-session.ts";
import * as programs from "./programs.ts";
import { copyProperties } from "./properties.ts";
import { replace } from "./replace.ts";
import { judgePostgresMigration } from "./verdict.ts";

const OBJECT_IN_USE = "55006";
/** The database that is always there to connect to. */
const MAINTENANCE = "postgres";

export const postgres: DatabaseEngine = {
  judge: judgePostgresMigration,
  facts: (address) => withClient(address, catalog.facts),
  sessions: (address) => withClient(address, catalog.sessions),
  activity: (address) => withClient(address, catalog.activity),
  contents: async (address) => ({
    rows: await withClient(address, catalog.countRows),
    schema: await programs.schema(address),
  }),
  create: (address, name) =>
    withClient(address, async (client) => {
      await client.query(await catalog.creation(client, name));
      await copyProperties(client, name);
    }),
  drop: (address, name) =>
    withClient(withDatabase(address, MAINTENANCE), async (client) => {
      await client.query(`DROP DATABASE IF EXISTS ${quoted(name)} WITH (FORCE)`);
    }),
  exists: (address) =>
    withClient(withDatabase(address, MAINTENANCE), (client) => catalog.exists(client, address.database)),
  duplicate,
  dump,
  load: programs.load,
  replace,
  isReplaced: async (address, replacement, kept) =>
    (await postgres.exists(withDatabase(address, kept))) &&
    !(await postgres.exists(withDatabase(address, replacement))),
  // Both renames are one transaction: there is never an empty one.
  dropEmpty: async () => {},
  migrate: (address) => PostgresMigrationSession.open(address),
  ledger: (address) => withClient(address, catalog.ledger),
};

/** By a template where both are on one server and nobody is connected, which is quick; else by a dump. */
async function duplicate(
  from: DatabaseAddress,
  to: DatabaseAddress,
  signal?: AbortSignal,
): Promise<"template" | "dump"> {
  const create = await withClient(from, (client) => catalog.creation(client, to.database));
  const isHere = (await serverOf(from)) === (await serverOf(to));
  if (isHere && (await copyByTemplate(from, to.database))) {
    await withClient(from, (client) => copyProperties(client, to.database));
    return "template";
  }
  await withClient(withDatabase(to, MAINTENANCE), (client) => client.query(create));
  if (isHere) await withClient(from, (client) => copyProperties(client, to.database));
  await programs.copy(from, to, signal).catch(async (error: unknown) => {
    await postgres.drop(to, to.database);
    throw error;
  });
  return "dump";
}

function serverOf(address: DatabaseAddress): Promise<string> {
  return withClient(withDatabase(address, MAINTENANCE), catalog.serverIdentity);
}

/** False when somebody is connected to the database. */
function copyByTemplate(from: DatabaseAddress, name: string): Promise<boolean> {
  return withClient(withDatabase(from, MAINTENANCE), async (client) => {
    if (await catalog.isInUse(client, from.database)) return false;
    try {
      await client.query(`CREATE DATABASE ${quoted(name)} TEMPLATE ${quoted(from.database)}`);
      return true;
    } catch (error) {
      if (sqlState(error) === OBJECT_IN_USE) return false;
      throw error;
    }
  });
}

/** The dump and the counts are of the same moment: they share a snapshot. */
async function dump(address: DatabaseAddress, file: string, signal?: AbortSignal): Promise<DatabaseContents> {
  return await withClient(address, async (client) => {
    const { rows: versions } = await client.query<{ server_version_num: string }>("SHOW server_version_num");
    await programs.requireProgram(Math.floor(Number(versions[0]?.server_version_num ?? 0) / 10_000));
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    const { rows } = await client.query<{ id: string }>("SELECT pg_export_snapshot() AS id");
    await programs.dump(address, file, rows[0]?.id ?? "", signal);
    const counts = await catalog.countRows(client);
    await client.query("COMMIT");
    return { rows: counts, schema: await programs.schema(address) };
  });
}
