import { setTimeout as sleep } from "node:timers/promises";
import { type DatabaseAddress, withDatabase } from "../address.ts";
import { quoted, withClient } from "./client.ts";

/** The database that is always there to connect to while another one is renamed. */
const MAINTENANCE = "postgres";
const AGAIN_MS = 50;

/**
 * Both renames are one transaction: at every moment the name means the old or the new content, also when this process dies.
 * The first rename locks the name, so that who connects waits; sessions that are there are ended meanwhile.
 */
export function replace(address: DatabaseAddress, replacement: string, kept: string): Promise<void> {
  const live = address.database;
  const maintenance = withDatabase(address, MAINTENANCE);
  return withClient(maintenance, async (client) => {
    let isDone = false;
    const renamed = client
      .query(
        `BEGIN; ALTER DATABASE ${quoted(live)} RENAME TO ${quoted(kept)};
         ALTER DATABASE ${quoted(replacement)} RENAME TO ${quoted(live)}; COMMIT`,
      )
      .finally(() => {
        isDone = true;
      });
    await Promise.all([renamed, endSessions(maintenance, [live, replacement], () => isDone)]);
  });
}

/** Ends the sessions of the databases, and those that come, until `isDone`. */
function endSessions(maintenance: DatabaseAddress, names: string[], isDone: () => boolean): Promise<void> {
  return withClient(maintenance, async (client) => {
    while (!isDone()) {
      await client.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY ($1) AND pid <> pg_backend_pid()",
        [names],
      );
      await sleep(AGAIN_MS);
    }
  });
}
