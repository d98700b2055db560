import mysql from "mysql2/promise";
import { DoppelError, messageOf } from "../../../errors.ts";
import { type DatabaseAddress, describeAddress } from "../address.ts";

const CONNECT_TIMEOUT_MS = 10_000;
const ERRORS: Readonly<Record<number, { code: string; hint: string }>> = {
  1044: { code: "database-login", hint: "check what the user may do with the database" },
  1045: { code: "database-login", hint: "check the user and the password of the secret" },
  1049: { code: "database-unknown", hint: "check the name of the database" },
};

/** How strings and dates are read is fixed: a migration means on the server what it meant to the parser. */
const SESSION =
  "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'";

/** Connects; to be closed by `end`. One query is one statement. Throws as the PostgreSQL client does. */
export async function connect(address: DatabaseAddress): Promise<mysql.Connection> {
  const { host, port, user, password, database, tls } = address;
  try {
    const connection = await mysql.createConnection({
      host,
      port,
      user,
      password,
      database,
      connectTimeout: CONNECT_TIMEOUT_MS,
      multipleStatements: false,
      supportBigNumbers: true,
      ...(tls === "disable" ? {} : { ssl: { rejectUnauthorized: tls === "verify-full" } }),
    });
    connection.on("error", () => {});
    await connection.query(SESSION);
    return connection;
  } catch (error) {
    throw explain(error, address);
  }
}

export async function withConnection<T>(
  address: DatabaseAddress,
  work: (connection: mysql.Connection) => Promise<T>,
): Promise<T> {
  const connection = await connect(address);
  try {
    return await work(connection);
  } catch (error) {
    throw error instanceof DoppelError ? error : explain(error, address);
  } finally {
    await connection.end().catch(() => {});
  }
}

/** Rows of a query, in the shape that its text promises. */
export async function rowsOf<Row>(
  connection: mysql.Connection,
  sql: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const [rows] = await connection.query(sql, [...values]);
  return rows as Row[];
}

/** The number of an error of the server. */
export function errorNumber(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errno" in error) || !("sqlState" in error)) return undefined;
  return typeof error.errno === "number" ? error.errno : undefined;
}

export function explain(error: unknown, address: DatabaseAddress): DoppelError {
  const message = messageOf(error);
  const number = errorNumber(error);
  const where = describeAddress(address);
  if (number === undefined) {
    return new DoppelError("database-unreachable", `${where} cannot be reached: ${message || "no answer"}`, {
      hint: "check host, port and firewall, and that the server runs",
      cause: error,
    });
  }
  const { code, hint } = ERRORS[number] ?? { code: "database-failed", hint: undefined };
  return new DoppelError(code, `${where}: ${message} (error ${number})`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** A name as an identifier of SQL. */
export const quoted = (name: string): string => `\`${name.replaceAll("`", "``")}\``;
