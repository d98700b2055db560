import { dirname } from "node:path";
import { DoppelError, EXIT } from "../../../errors.ts";
import { runProgram } from "../../../run-program.ts";
import { fromOutside } from "../../check/dial.ts";
import { judgeOutput, judgeRow } from "../../check/judge.ts";
import { looked, type Outcome } from "../../check/outcome.ts";
import { askDatabase } from "../../check/sql.ts";
import type { FarmContext } from "../../context.ts";
import { formatDatabaseUrl } from "../../databases/address.ts";
import type { Step } from "../../engine/step.ts";
import type { FarmDatabase, OldVersionCheck } from "../../file/databases.ts";
import { json } from "../../journal/entry.ts";
import { lookingStep } from "../recorded.ts";
import { expandId } from "./expand.ts";
import type { Expansion } from "./expansion.ts";
import { stepOf } from "./records.ts";
import { testCopyId } from "./test-copy.ts";

/** The old version's own checks, against the test copy once it is expanded; the live database waits for them. */
export function oldVersionStep(context: FarmContext, database: FarmDatabase, { digest }: Expansion): Step {
  const { name, oldVersionChecks: checks } = database;
  return lookingStep(context.journal, {
    id: stepOf(name, "old-version"),
    title: `the old version's checks pass on the expanded copy of ${name}`,
    inputs: { digest, checks: json.parse(JSON.parse(JSON.stringify(checks))) },
    after: [testCopyId(name), expandId(name, "copy")],
    look: async (signal) => {
      const results: Record<string, string> = {};
      for (const check of checks) {
        const { passed, message } = await looked(check.timeout, signal, (limit) =>
          lookAt(context, database, check, limit),
        );
        if (!passed) throw oldVersionFails(name, check.name, message);
        results[check.name] = message;
      }
      if (checks.length === 0) context.tell(`${name}: the farm file has no checks of the old version`);
      return results;
    },
  });
}

async function lookAt(
  context: FarmContext,
  database: FarmDatabase,
  check: OldVersionCheck,
  signal: AbortSignal,
): Promise<Omit<Outcome, "latencyMs">> {
  if (check.kind === "sql") {
    if (database.engine === "commands")
      return { passed: false, message: `${database.name} is reached by commands, not by SQL` };
    const address = await context.databases.copy(database);
    return judgeRow(await askDatabase(fromOutside, address, check.query, signal), check.equals);
  }
  const [program = "", ...words] = check.run;
  const env =
    database.engine === "commands"
      ? { DOPPEL_TARGET: "copy" }
      : { DOPPEL_DATABASE_URL: formatDatabaseUrl(await context.databases.copy(database)) };
  const cwd = dirname(context.farm.path);
  const options = { env, cwd, timeoutMs: check.timeout, allowFailure: true, signal };
  const { exitCode, stdout, stderr } = await runProgram(program, words, options);
  return judgeOutput({ code: exitCode, stdout, stderr }, check);
}

function oldVersionFails(database: string, check: string, message: string): DoppelError {
  return new DoppelError(
    "old-version-fails",
    `the old version cannot live with the expanded copy of ${database}: ${check}: ${message}`,
    {
      hint: "the live database was not touched; mend the migration, make a new test copy, expand again",
      exitCode: EXIT.refused,
    },
  );
}
