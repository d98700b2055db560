import { DoppelError, EXIT } from "../../errors.ts";

/** How to reach one database; `password` is secret and never printed. */
export interface DatabaseAddress {
  engine: "postgres" | "mysql";
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
  tls: "disable" | "require" | "verify-full";
}

const ENGINES: Readonly<Record<string, { engine: DatabaseAddress["engine"]; port: number }>> = {
  "postgres:": { engine: "postgres", port: 5432 },
  "postgresql:": { engine: "postgres", port: 5432 },
  "mysql:": { engine: "mysql", port: 3306 },
  "mariadb:": { engine: "mysql", port: 3306 },
};
const TLS = ["disable", "require", "verify-full"] as const;

/**
 * Reads `postgres://USER:PASSWORD@HOST[:PORT]/DATABASE[?sslmode=disable|require|verify-full]`, or the same with `mysql`.
 *
 * Throws `database-url-invalid`, whose message names what is wrong and never the URL.
 */
export function parseDatabaseUrl(url: string): DatabaseAddress {
  if (!URL.canParse(url)) throw invalid("it is no URL");
  const { protocol, hostname, port, username, password, pathname, searchParams } = new URL(url);
  const kind = ENGINES[protocol];
  const database = decoded(pathname.slice(1));
  const tls = TLS.find((mode) => mode === (searchParams.get("sslmode") ?? "disable"));
  if (kind === undefined) throw invalid("it does not start with postgres:// or mysql://");
  if (hostname === "") throw invalid("it names no host");
  if (database === "" || database.includes("/")) throw invalid("it names no database");
  if (username === "") throw invalid("it names no user");
  if (tls === undefined) throw invalid(`its sslmode is none of ${TLS.join(", ")}`);
  return {
    engine: kind.engine,
    host: hostname.replace(/^\[|\]$/g, ""),
    port: port === "" ? kind.port : Number(port),
    user: decoded(username),
    password: decoded(password),
    database,
    tls,
  };
}

/** The URL that `parseDatabaseUrl` reads: with the password, so never for a message, a log or a command line. */
export function formatDatabaseUrl({
  engine,
  user,
  password,
  host,
  port,
  database,
  tls,
}: DatabaseAddress): string {
  const [name, secret, path] = [user, password, database].map(encodeURIComponent);
  const at = host.includes(":") ? `[${host}]` : host;
  return `${engine}://${name}:${secret}@${at}:${port}/${path}?sslmode=${tls}`;
}

/** An address for messages: without the password. */
export function describeAddress({ engine, user, host, port, database }: DatabaseAddress): string {
  return `${engine}://${user}@${host}:${port}/${database}`;
}

/** The same server and login, another database. */
export function withDatabase(address: DatabaseAddress, database: string): DatabaseAddress {
  return { ...address, database };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw invalid("it has a % that is no escape");
  }
}

function invalid(why: string): DoppelError {
  return new DoppelError("database-url-invalid", `the URL of a database cannot be used: ${why}`, {
    hint: "write it like postgres://user:password@host:5432/database; it is not shown here because it is secret",
    exitCode: EXIT.usage,
  });
}
