import { DoppelError, EXIT } from "../../../errors.ts";
import { type DatabaseAddress, describeAddress, withDatabase } from "../address.ts";
import { tableNames } from "./catalog.ts";
import { quoted, rowsOf, withConnection } from "./client.ts";

/**
 * One RENAME TABLE moves all tables of both databases: at every moment the name means the old or the new rows. Views and
 * routines stay, as they name tables; tables with triggers cannot be moved (`replace-triggers`).
 */
export function replace(address: DatabaseAddress, replacement: string, kept: string): Promise<void> {
  const live = address.database;
  return withConnection(address, async (connection) => {
    await refuseTriggers(address);
    const oldTables = await tableNames(connection);
    const newTables = await withConnection(withDatabase(address, replacement), tableNames);
    await connection.query(`CREATE DATABASE IF NOT EXISTS ${quoted(kept)}`);
    const move = (from: string, to: string) => (table: string) =>
      `${quoted(from)}.${quoted(table)} TO ${quoted(to)}.${quoted(table)}`;
    const moves = [...oldTables.map(move(live, kept)), ...newTables.map(move(replacement, live))];
    if (moves.length > 0) await connection.query(`RENAME TABLE ${moves.join(", ")}`);
    const left = await withConnection(withDatabase(address, replacement), tableNames);
    if (left.length === 0 && replacement !== kept)
      await connection.query(`DROP DATABASE ${quoted(replacement)}`);
  });
}

async function refuseTriggers(address: DatabaseAddress): Promise<void> {
  const rows = await withConnection(address, (connection) =>
    rowsOf<{ name: string }>(
      connection,
      "SELECT trigger_name AS name FROM information_schema.triggers WHERE trigger_schema = database()",
    ),
  );
  if (rows.length === 0) return;
  const names = rows.map(({ name }) => name).join(", ");
  throw new DoppelError(
    "replace-triggers",
    `the tables of ${describeAddress(address)} have triggers (${names}): the server does not move such tables`,
    { hint: "load the copy by hand, with mariadb, while the site is down", exitCode: EXIT.refused },
  );
}
