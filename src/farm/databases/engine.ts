import type { Activity } from "./activity.ts";
import type { DatabaseAddress } from "./address.ts";
import type { MigrationVerdict, StatementVerdict } from "./verdict.ts";

/** What a database is, asked with one login. */
export interface DatabaseFacts {
  version: string;
  sizeBytes: number;
  /** The server's own time, ISO 8601. */
  now: string;
  /** The same for every way to the same database, and for no other: to see whether two addresses mean one database. */
  identity: string;
}

/** Who is connected, from where: tells which machines see this database. */
export interface DatabaseSession {
  clientAddress: string;
  user: string;
  application: string;
  count: number;
}

/** Tables with their rows, and the schema as the native dump writes it, without what differs from run to run. */
export interface DatabaseContents {
  rows: Readonly<Record<string, number>>;
  schema: string;
}

/** The state of a statement in the ledger of a database. */
export type LedgerState = "new" | "started" | "done";

export interface RunLimits {
  lockTimeoutMs: number;
  statementTimeoutMs: number;
}

/** A session that applies a migration; one at a time in a database. Closed by `await using`. */
export interface MigrationSession extends AsyncDisposable {
  /** Whether this session may migrate: false while another one does. */
  take(): Promise<boolean>;
  state(statement: StatementVerdict, key: string): Promise<LedgerState>;
  /** Runs the statement and records it; `onRun` is called in between where the database cannot do both at once. */
  run(statement: StatementVerdict, key: string, limits: RunLimits, onRun: () => void): Promise<void>;
  /** Whether `error` means that a lock was not had in time. */
  isLockTimeout(error: unknown): boolean;
  /** Sessions that hold what the statement waits for, oldest first, for a person to read. */
  blockers(statement: StatementVerdict): Promise<string[]>;
}

/** What the farm can do with a kind of database. Errors are `DoppelError`s without passwords. */
export interface DatabaseEngine {
  judge(sql: string): Promise<MigrationVerdict>;
  facts(address: DatabaseAddress): Promise<DatabaseFacts>;
  sessions(address: DatabaseAddress): Promise<DatabaseSession[]>;
  activity(address: DatabaseAddress): Promise<Activity>;
  contents(address: DatabaseAddress): Promise<DatabaseContents>;
  /** Makes an empty database beside that of the address, of the same encoding. */
  create(address: DatabaseAddress, name: string): Promise<void>;
  drop(address: DatabaseAddress, name: string): Promise<void>;
  exists(address: DatabaseAddress): Promise<boolean>;
  /** Copies the database to a new one, that may be on another server; what is half copied is removed. */
  duplicate(from: DatabaseAddress, to: DatabaseAddress, signal?: AbortSignal): Promise<"template" | "dump">;
  /** Writes a native dump into a file that is there, of one moment; returns what it then held. */
  dump(address: DatabaseAddress, file: string, signal?: AbortSignal): Promise<DatabaseContents>;
  /** Loads a native dump into an empty database. */
  load(address: DatabaseAddress, file: string, signal?: AbortSignal): Promise<void>;
  /** Gives the database's name to `replacement`, and its own content to the name `kept`, in one step. */
  replace(address: DatabaseAddress, replacement: string, kept: string): Promise<void>;
  /** Whether `replace` with these names has come to its end; a part of it that was left is not one. */
  isReplaced(address: DatabaseAddress, replacement: string, kept: string): Promise<boolean>;
  /** Drops the database of that name when it has no tables: what a `replace` that was cut off may have left of one. */
  dropEmpty(address: DatabaseAddress, name: string): Promise<void>;
  migrate(address: DatabaseAddress): Promise<MigrationSession>;
  /** The state of each statement that a migration has recorded there; empty where there was none. */
  ledger(address: DatabaseAddress): Promise<ReadonlyMap<string, LedgerState>>;
}
