import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DoppelError, EXIT } from "../../../errors.ts";
import { pipePrograms, runProgram } from "../../../run-program.ts";
import { temporaryFolder } from "../../../temporary-folder.ts";
import type { DatabaseAddress } from "../address.ts";
import { explainProgram } from "../program-error.ts";

const DAY_MS = 24 * 3600 * 1000;
const SMALL_MS = 120_000;

/** Lines of a schema dump that differ from run to run. */
const VARYING = /^(--.*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*|\s*)$/;

/** Runs `work` with a password file of its own, that nobody else can read. */
async function withPassword<T>(
  address: DatabaseAddress,
  work: (login: { args: string[]; env: Record<string, string> }) => Promise<T>,
): Promise<T> {
  await using folder = await temporaryFolder("pgpass");
  const file = join(folder.path, "pgpass");
  const password = address.password.replace(/[\\:]/g, (character) => `\\${character}`);
  await writeFile(file, `*:*:*:*:${password}\n`, { mode: 0o600 });
  const { host, port, user } = address;
  return await work({
    args: ["--host", host, "--port", String(port), "--username", user, "--no-password"],
    env: { PGPASSFILE: file, PGSSLMODE: address.tls, PGAPPNAME: "doppel" },
  });
}

/** A dump in the custom format, of the moment of an exported snapshot. */
export function dump(
  address: DatabaseAddress,
  file: string,
  snapshot: string,
  signal?: AbortSignal,
): Promise<void> {
  return withPassword(address, async ({ args, env }) => {
    const what = ["--format=custom", "--snapshot", snapshot, "--dbname", address.database];
    const options = {
      env,
      timeoutMs: DAY_MS,
      outputFile: file,
      ...(signal === undefined ? {} : { signal }),
    };
    await runProgram("pg_dump", [...args, ...what], options).catch((error: unknown) => {
      throw explainProgram(error, file);
    });
  });
}

export function load(address: DatabaseAddress, file: string, signal?: AbortSignal): Promise<void> {
  return withPassword(address, async ({ args, env }) => {
    const options = { env, timeoutMs: DAY_MS, ...(signal === undefined ? {} : { signal }) };
    await runProgram(
      "pg_restore",
      [...args, "--exit-on-error", "--dbname", address.database, file],
      options,
    ).catch((error: unknown) => {
      throw explainProgram(error, file);
    });
  });
}

/** Copies one database into another, empty one, without a file in between. */
export function copy(from: DatabaseAddress, to: DatabaseAddress, signal?: AbortSignal): Promise<void> {
  return withPassword(from, (source) =>
    withPassword(to, (target) => {
      const read = ["--format=custom", "--compress=0", "--dbname", from.database];
      const write = ["--exit-on-error", "--dbname", to.database];
      return pipePrograms(
        { file: "pg_dump", args: [...source.args, ...read], env: source.env },
        { file: "pg_restore", args: [...target.args, ...write], env: target.env },
        { timeoutMs: DAY_MS, ...(signal === undefined ? {} : { signal }) },
      );
    }),
  );
}

/** The schema as pg_dump writes it. */
export function schema(address: DatabaseAddress): Promise<string> {
  return withPassword(address, async ({ args, env }) => {
    const { stdout } = await runProgram("pg_dump", [...args, "--schema-only", "--dbname", address.database], {
      env,
      timeoutMs: SMALL_MS,
    });
    return stdout
      .split("\n")
      .filter((line) => !VARYING.test(line))
      .join("\n");
  });
}

/** Refuses a pg_dump older than the server, which it would refuse to dump, with words that help. */
export async function requireProgram(serverVersion: number): Promise<void> {
  const { stdout } = await runProgram("pg_dump", ["--version"]);
  const client = Number(/(\d+)(\.\d+)?/.exec(stdout)?.[1] ?? 0);
  if (client >= serverVersion) return;
  throw new DoppelError("dump-program-old", `pg_dump is version ${client}, the server ${serverVersion}`, {
    hint: `install postgresql-client-${serverVersion}`,
    exitCode: EXIT.refused,
  });
}
