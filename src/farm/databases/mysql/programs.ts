import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipePrograms, runProgram } from "../../../run-program.ts";
import { temporaryFolder } from "../../../temporary-folder.ts";
import type { DatabaseAddress } from "../address.ts";
import { explainProgram } from "../program-error.ts";

const DAY_MS = 24 * 3600 * 1000;
const SMALL_MS = 120_000;
const WHOLE = ["--single-transaction", "--quick", "--routines", "--events", "--triggers", "--hex-blob"];

/** Runs `work` with an option file of its own, that nobody else can read. */
async function withLogin<T>(address: DatabaseAddress, work: (args: string[]) => Promise<T>): Promise<T> {
  await using folder = await temporaryFolder("mysql");
  const file = join(folder.path, "login.cnf");
  const escaped = (value: string) =>
    `"${value.replace(/[\\"]/g, (character) => `\\${character}`).replaceAll("\n", "\\n")}"`;
  const tls =
    address.tls === "disable"
      ? []
      : ["ssl", ...(address.tls === "verify-full" ? ["ssl-verify-server-cert"] : [])];
  const lines = [
    "[client]",
    `host=${escaped(address.host)}`,
    `port=${address.port}`,
    "protocol=tcp",
    `user=${escaped(address.user)}`,
    `password=${escaped(address.password)}`,
    ...tls,
  ];
  await writeFile(file, `${lines.join("\n")}\n`, { mode: 0o600 });
  return await work([`--defaults-extra-file=${file}`]);
}

/** Plain SQL, of one moment where tables are transactional. */
export function dump(address: DatabaseAddress, file: string, signal?: AbortSignal): Promise<void> {
  return withLogin(address, async (login) => {
    const options = { timeoutMs: DAY_MS, ...(signal === undefined ? {} : { signal }) };
    await runProgram(
      "mariadb-dump",
      [...login, ...WHOLE, `--result-file=${file}`, address.database],
      options,
    ).catch((error: unknown) => {
      throw explainProgram(error, file);
    });
  });
}

export function load(address: DatabaseAddress, file: string, signal?: AbortSignal): Promise<void> {
  return withLogin(address, async (login) => {
    const options = { timeoutMs: DAY_MS, inputFile: file, ...(signal === undefined ? {} : { signal }) };
    await runProgram("mariadb", [...login, "--batch", address.database], options);
  });
}

/** Copies one database into another, empty one, without a file in between. */
export function copy(from: DatabaseAddress, to: DatabaseAddress, signal?: AbortSignal): Promise<void> {
  return withLogin(from, (source) =>
    withLogin(to, (target) =>
      pipePrograms(
        { file: "mariadb-dump", args: [...source, ...WHOLE, from.database] },
        { file: "mariadb", args: [...target, "--batch", to.database] },
        { timeoutMs: DAY_MS, ...(signal === undefined ? {} : { signal }) },
      ),
    ),
  );
}

/** The schema as mariadb-dump writes it, without the next numbers. */
export function schema(address: DatabaseAddress): Promise<string> {
  return withLogin(address, async (login) => {
    const what = ["--no-data", "--routines", "--events", "--triggers", "--skip-comments"];
    const { stdout } = await runProgram("mariadb-dump", [...login, ...what, address.database], {
      timeoutMs: SMALL_MS,
    });
    return stdout.replace(/ AUTO_INCREMENT=\d+/g, "");
  });
}
