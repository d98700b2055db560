import { locksText, type MigrationVerdict } from "../farm/databases/verdict.ts";
import { table } from "./output.ts";

/** The statements of migration files, a line each. */
export function verdictTable(files: readonly { file: string; verdict: MigrationVerdict }[]): string {
  const rows = files.flatMap(({ file, verdict: { statements } }) =>
    statements.map(({ line, verdict, statement, locks, reason, alternative }) => [
      `${file}:${line}`,
      verdict,
      statement,
      locksText(locks),
      alternative === undefined ? reason : `${reason}; instead: ${alternative}`,
    ]),
  );
  return rows.length === 0 ? "" : table([["WHERE", "VERDICT", "STATEMENT", "LOCKS", "WHY"], ...rows]);
}
