import type pg from "pg";
import { quoted } from "./client.ts";

/**
 * Gives a database what belongs to the database of the connection itself, and is in no dump of its content: its owner, its
 * settings (ALTER DATABASE … SET) and its rights.
 */
export async function copyProperties(client: pg.Client, to: string): Promise<void> {
  for (const sql of [
    ...(await rights(client, to)),
    ...(await settings(client, to)),
    ...(await owner(client, to)),
  ]) {
    await client.query(sql);
  }
}

async function owner(client: pg.Client, to: string): Promise<string[]> {
  const { rows } = await client.query<{ owner: string }>(
    "SELECT pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = current_database() AND datdba <> current_user::regrole",
  );
  return rows.map((row) => `ALTER DATABASE ${quoted(to)} OWNER TO ${quoted(row.owner)}`);
}

async function settings(client: pg.Client, to: string): Promise<string[]> {
  const { rows } = await client.query<{ role: string | null; setting: string }>(
    `SELECT r.rolname AS role, unnest(s.setconfig) AS setting FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
     WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  return rows.map(({ role, setting }) => {
    const equals = setting.indexOf("=");
    const name = setting.slice(0, equals);
    const value = setting.slice(equals + 1);
    const whose =
      role === null ? `ALTER DATABASE ${quoted(to)}` : `ALTER ROLE ${quoted(role)} IN DATABASE ${quoted(to)}`;
    return `${whose} SET ${name.split(".").map(quoted).join(".")} TO ${listOf(client, name, value)}`;
  });
}

/** Settings that are lists of names are stored as the list was written; as one string they would be one name. */
function listOf(client: pg.Client, name: string, value: string): string {
  const lists = new Set([
    "search_path",
    "temp_tablespaces",
    "session_preload_libraries",
    "local_preload_libraries",
  ]);
  return lists.has(name) && value !== "" ? value : client.escapeLiteral(value);
}

async function rights(client: pg.Client, to: string): Promise<string[]> {
  const { rows } = await client.query<{ grantee: string | null; privilege: string; grantable: boolean }>(
    `SELECT r.rolname AS grantee, a.privilege_type AS privilege, a.is_grantable AS grantable
     FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
     WHERE d.datname = current_database()`,
  );
  if (rows.length === 0) return [];
  return [
    `REVOKE ALL ON DATABASE ${quoted(to)} FROM PUBLIC`,
    ...rows.map(({ grantee, privilege, grantable }) => {
      const whom = grantee === null ? "PUBLIC" : quoted(grantee);
      return `GRANT ${privilege} ON DATABASE ${quoted(to)} TO ${whom}${grantable ? " WITH GRANT OPTION" : ""}`;
    }),
  ];
}
