import type { Duplex } from "node:stream";
import mysql from "mysql2/promise";
import pg from "pg";
import { DoppelError, messageOf } from "../../errors.ts";
import { type DatabaseAddress, describeAddress } from "../databases/address.ts";
import type { Dial } from "./dial.ts";

/**
 * Logs in and asks one query, over a connection from where `dial` stands. Returns the first column of the first row as
 * text, null for SQL's NULL, undefined when there is no row. Errors have no password in them.
 */
export async function askDatabase(
  dial: Dial,
  address: DatabaseAddress,
  query: string,
  signal: AbortSignal,
): Promise<string | null | undefined> {
  const stream = await dial(address.host, address.port, signal);
  try {
    return address.engine === "postgres"
      ? await askPostgres(stream, address, query)
      : await askMysql(stream, address, query);
  } catch (error) {
    const why = messageOf(error);
    throw new DoppelError("database-check", `${describeAddress(address)}: ${why}`, { cause: error });
  } finally {
    stream.destroy();
  }
}

async function askPostgres(stream: Duplex, address: DatabaseAddress, query: string) {
  const { host, port, user, password, database, tls } = address;
  const client = new pg.Client({
    ...{ host, port, user, password, database, application_name: "doppel check" },
    stream: () => asSocket(stream),
    ssl: tls === "disable" ? false : { rejectUnauthorized: tls === "verify-full", servername: host },
  });
  // A stream that breaks after the answer is no matter.
  client.on("error", () => {});
  await client.connect();
  const { rows } = await client.query({ text: query, rowMode: "array" });
  const answer = textOf(rows[0]);
  await client.end();
  return answer;
}

async function askMysql(stream: Duplex, address: DatabaseAddress, query: string) {
  const { host, user, password, database, tls } = address;
  const connection = await mysql.createConnection({
    ...{ host, user, password, database, stream, rowsAsArray: true, multipleStatements: false },
    ...(tls === "disable" ? {} : { ssl: { rejectUnauthorized: tls === "verify-full" } }),
  });
  const [rows] = await connection.query(query);
  const answer = textOf(Array.isArray(rows) ? rows[0] : undefined);
  await connection.end();
  return answer;
}

function textOf(row: unknown): string | null | undefined {
  if (!Array.isArray(row)) return undefined;
  const first: unknown = row[0];
  return first === null || first === undefined ? null : String(first);
}

/** pg wants a socket that it connects itself: this one is connected already, by somebody else. */
function asSocket(stream: Duplex): Duplex {
  const nothing = () => stream;
  return Object.assign(stream, {
    connect: () => {
      process.nextTick(() => stream.emit("connect"));
      return stream;
    },
    setNoDelay: nothing,
    setKeepAlive: nothing,
    ref: nothing,
    unref: nothing,
  });
}
