import type pg from "pg";
import { type DatabaseAddress, withDatabase } from "../address.ts";
import { quoted, withClient } from "./client.ts";

/** The database that is always there to connect to while another one is renamed. */
const MAINTENANCE = "postgres";

/** Both renames are one transaction: at every moment the name means the old or the new content. */
export function replace(address: DatabaseAddress, replacement: string, kept: string): Promise<void> {
  const live = address.database;
  return withClient(withDatabase(address, MAINTENANCE), async (client) => {
    await client.query(`ALTER DATABASE ${quoted(live)} ALLOW_CONNECTIONS false`);
    try {
      await disconnect(client, [live, replacement]);
      await client.query("BEGIN");
      await client.query(`ALTER DATABASE ${quoted(live)} RENAME TO ${quoted(kept)}`);
      await client.query(`ALTER DATABASE ${quoted(replacement)} RENAME TO ${quoted(live)}`);
      await client.query("COMMIT");
    } catch (error) {
      await client.query("ROLLBACK").catch(() => {});
      await client.query(`ALTER DATABASE ${quoted(live)} ALLOW_CONNECTIONS true`);
      throw error;
    }
    await client.query(`ALTER DATABASE ${quoted(kept)} ALLOW_CONNECTIONS true`);
  });
}

/** Ends all sessions of the databases and waits until they are gone. */
async function disconnect(client: pg.Client, names: string[]): Promise<void> {
  const WAIT_MS = 10_000;
  await client.query(
    "SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity WHERE datname = ANY ($1) AND pid <> pg_backend_pid()",
    [names, WAIT_MS],
  );
}
