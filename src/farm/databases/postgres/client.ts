import pg from "pg";
import { DoppelError, messageOf } from "../../../errors.ts";
import { type DatabaseAddress, describeAddress } from "../address.ts";

const CONNECT_TIMEOUT_MS = 10_000;
const ERRORS: Readonly<Record<string, { code: string; hint: string }>> = {
  "28P01": { code: "database-login", hint: "check the user and the password of the secret" },
  "28000": { code: "database-login", hint: "check the user, and pg_hba.conf on the server" },
  "3D000": { code: "database-unknown", hint: "check the name of the database" },
};

/** Connects; to be closed by `end`. Throws `database-unreachable`, `database-login` or `database-unknown`. */
export async function connect(address: DatabaseAddress): Promise<pg.Client> {
  const client = new pg.Client({
    host: address.host,
    port: address.port,
    user: address.user,
    password: address.password,
    database: address.database,
    ssl: address.tls === "disable" ? false : { rejectUnauthorized: address.tls === "verify-full" },
    application_name: "doppel",
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    await client.query("SET standard_conforming_strings = on");
    return client;
  } catch (error) {
    await client.end().catch(() => {});
    throw explain(error, address);
  }
}

/** Runs `work` with a connection of its own. Errors of the server become `database-failed`. */
export async function withClient<T>(
  address: DatabaseAddress,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = await connect(address);
  try {
    return await work(client);
  } catch (error) {
    throw error instanceof DoppelError ? error : explain(error, address);
  } finally {
    await client.end().catch(() => {});
  }
}

/** The five characters of SQLSTATE, of an error of the server. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

/** The error of a server or of the way there, with its words and without secrets. */
export function explain(error: unknown, address: DatabaseAddress): DoppelError {
  const message = messageOf(error);
  const state = sqlState(error);
  const where = describeAddress(address);
  if (state === undefined) {
    return new DoppelError("database-unreachable", `${where} cannot be reached: ${message || "no answer"}`, {
      hint: "check host, port and firewall, and that the server runs",
      cause: error,
    });
  }
  const { code, hint } = ERRORS[state] ?? { code: "database-failed", hint: undefined };
  return new DoppelError(code, `${where}: ${message} (SQLSTATE ${state})`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** A name as an identifier of SQL. */
export const quoted = (name: string): string => pg.escapeIdentifier(name);
