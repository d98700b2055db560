import { randomBytes } from "node:crypto";
import { open, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { makePrivateFolder, temporaryName } from "../../durable-file.ts";
import { DoppelError, EXIT } from "../../errors.ts";
import { refuseExisting } from "../../output-file.ts";
import type { Activity } from "./activity.ts";
import { type DatabaseAddress, describeAddress, withDatabase } from "./address.ts";
import { digestFile, publishCopy } from "./copy-file.ts";
import type { DatabaseContents, DatabaseEngine } from "./engine.ts";
import { engineOf } from "./engines.ts";

/** A copy of a database as it was before an upgrade, to go back to. */
export interface SafetyCopy {
  engine: DatabaseAddress["engine"];
  /** Of the database, to see that a copy is of this one. */
  identity: string;
  database: string;
  serverVersion: string;
  /** The native dump, readable by its owner only. */
  file: string;
  bytes: number;
  sha256: string;
  seconds: number;
  /** What was written until the copy was begun. */
  activity: Activity;
  /** Rows of each table in the copy; null where the table was written while it was copied. */
  rows: Readonly<Record<string, number | null>>;
  /** The restore that was tried; absent when it was left out. */
  rehearsal?: Rehearsal;
}

export interface Rehearsal {
  seconds: number;
  tables: number;
  rows: number;
}

export interface SafetyCopyOptions {
  /** Restore it into a scratch database and compare; default true. */
  rehearse?: boolean;
  /** The database to rehearse in, a new one by default; what an earlier rehearsal left there is dropped. */
  scratch?: string;
  signal?: AbortSignal;
}

/**
 * Writes a native dump, durably, with its SHA-256, and tries to restore it; only then it has the name of a copy. `file` must not
 * exist (`file-exists`).
 *
 * Throws `copy-differs` (exit 4) when what the rehearsal restored is not what was dumped, and ENOSPC; a dump that failed, or
 * whose rehearsal did, is removed.
 */
export async function makeSafetyCopy(
  address: DatabaseAddress,
  file: string,
  options: SafetyCopyOptions = {},
): Promise<SafetyCopy> {
  await refuseExisting(file, false);
  await makePrivateFolder(dirname(file));
  const engine = engineOf(address);
  const facts = await engine.facts(address);
  const activity = await engine.activity(address);
  const temporary = temporaryName(file);
  try {
    const started = performance.now();
    const contents = await dumpPrivately(engine, address, temporary, options.signal);
    const copy: SafetyCopy = {
      engine: address.engine,
      identity: facts.identity,
      database: address.database,
      serverVersion: facts.version,
      file,
      seconds: secondsSince(started),
      ...(await digestFile(temporary)),
      activity,
      rows: Object.fromEntries(
        Object.entries(contents.rows).map(([table, count]) => [table, Number.isNaN(count) ? null : count]),
      ),
    };
    if (options.rehearse !== false)
      copy.rehearsal = await rehearse(engine, address, temporary, contents, options);
    await publishCopy(temporary, file);
    return copy;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Reads the whole file again; throws `copy-corrupt` (exit 4) when it is not what was written, or is gone. */
export async function verifySafetyCopy(copy: SafetyCopy): Promise<void> {
  const found = await stat(copy.file).catch(() => undefined);
  const sha256 = found === undefined ? undefined : (await digestFile(copy.file)).sha256;
  if (sha256 === copy.sha256) return;
  throw new DoppelError(
    "copy-corrupt",
    `the safety copy ${copy.file} is ${sha256 === undefined ? "gone" : `not what was written: its SHA-256 is ${sha256}, not ${copy.sha256}`}`,
    { hint: "make a new safety copy; this one is not used", exitCode: EXIT.different },
  );
}

/** A name for a database beside another one, that both engines allow. */
export function besideName(database: string, purpose: string): string {
  const LONGEST = 63;
  const end = `_${purpose}_${randomBytes(3).toString("hex")}`;
  return `${database.slice(0, LONGEST - end.length)}${end}`;
}

async function dumpPrivately(
  engine: DatabaseEngine,
  address: DatabaseAddress,
  file: string,
  signal?: AbortSignal,
): Promise<DatabaseContents> {
  const handle = await open(file, "wx", 0o600);
  try {
    const contents = await engine.dump(address, file, signal);
    await handle.sync();
    return contents;
  } finally {
    await handle.close();
  }
}

async function rehearse(
  engine: DatabaseEngine,
  address: DatabaseAddress,
  file: string,
  dumped: DatabaseContents,
  { scratch = besideName(address.database, "rehearsal"), signal }: SafetyCopyOptions,
): Promise<Rehearsal> {
  const started = performance.now();
  await engine.drop(address, scratch);
  await engine.create(address, scratch);
  try {
    const target = withDatabase(address, scratch);
    await engine.load(target, file, signal);
    const restored = await engine.contents(target);
    compareContents(address, dumped, restored);
    const counts = Object.values(restored.rows);
    return {
      seconds: secondsSince(started),
      tables: counts.length,
      rows: counts.reduce((sum, count) => sum + count, 0),
    };
  } finally {
    await engine.drop(address, scratch);
  }
}

/** Throws `copy-differs` at the first table whose rows, or the first line of the schema that, came back otherwise. */
export function compareContents(
  address: DatabaseAddress,
  dumped: DatabaseContents,
  restored: DatabaseContents,
): void {
  const tables = new Set([...Object.keys(dumped.rows), ...Object.keys(restored.rows)]);
  for (const table of tables) {
    const expected = dumped.rows[table];
    const found = restored.rows[table];
    if (expected === found || (Number.isNaN(expected) && found !== undefined)) continue;
    throw differs(address, `table ${table} has ${found ?? "no"} rows, ${expected ?? "none"} were dumped`);
  }
  if (dumped.schema === restored.schema) return;
  const lines = new Set(restored.schema.split("\n"));
  const line = dumped.schema.split("\n").find((one) => !lines.has(one));
  throw differs(address, `the schema differs: ${line ?? "it has more than was dumped"}`);
}

function differs(address: DatabaseAddress, what: string): DoppelError {
  return new DoppelError(
    "copy-differs",
    `the safety copy of ${describeAddress(address)} was restored, and ${what}`,
    {
      hint: "look for rights that the user lacks on the database, and make the copy again",
      exitCode: EXIT.different,
    },
  );
}

function secondsSince(started: number): number {
  return Math.round(performance.now() - started) / 1000;
}
