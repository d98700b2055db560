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
      await catalog.createLike(client, name);
      await copyProperties(client, name);
    }),
  drop: (address, name) =>
    withClient(withDatabase(address, "postgres"), async (client) => {
      await client.query(`DROP DATABASE IF EXISTS ${quoted(name)} WITH (FORCE)`);
    }),
  duplicate,
  dump,
  load: programs.load,
  replace,
  migrate: (address) => PostgresMigrationSession.open(address),
};

/** By a template where nobody is connected, which is quick; else by a dump. */
async function duplicate(
  address: DatabaseAddress,
  name: string,
  signal?: AbortSignal,
): Promise<"template" | "dump"> {
  const copied = await withClient(withDatabase(address, "postgres"), async (client) => {
    if (await catalog.isInUse(client, address.database)) return false;
    try {
      await client.query(`CREATE DATABASE ${quoted(name)} TEMPLATE ${quoted(address.database)}`);
      return true;
    } catch (error) {
      if (sqlState(error) === OBJECT_IN_USE) return false;
      throw error;
    }
  });
  if (copied) {
    await withClient(address, (client) => copyProperties(client, name));
    return "template";
  }
  await postgres.create(address, name);
  await programs.copy(address, name, signal);
  return "dump";
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
