import { hasSqlDetails, parse } from "libpg-query";
import { messageOf } from "../../../errors.ts";
import { judged, type MigrationVerdict, refused, type StatementVerdict } from "../verdict.ts";
import { NewObjects } from "./new-objects.ts";
import { judgeNode } from "./rules.ts";

/**
 * Judges every statement of a PostgreSQL migration with PostgreSQL's own parser (version 18, which reads what older servers
 * read). A file that it cannot parse has one verdict, refused, at the place of the error: nothing is guessed.
 */
export async function judgePostgresMigration(sql: string): Promise<MigrationVerdict> {
  const statements = await judgeStatements(sql);
  return {
    engine: "postgres",
    statements,
    refused: statements.filter(({ verdict }) => verdict === "refused").length,
  };
}

async function judgeStatements(sql: string): Promise<StatementVerdict[]> {
  const bytes = Buffer.from(sql);
  if (sql.trim() === "") return [];
  let tree: Awaited<ReturnType<typeof parse>>;
  try {
    tree = await parse(sql);
  } catch (error) {
    return [unparsable(sql, error)];
  }
  const made = new NewObjects();
  return (tree.stmts ?? []).flatMap(({ stmt, stmt_location: start = 0, stmt_len: length }) => {
    if (stmt === undefined) return [];
    const end = length === undefined || length === 0 ? bytes.length : start + length;
    const text = bytes.subarray(start, end).toString();
    const firstCharacter = start + Buffer.byteLength(text) - Buffer.byteLength(text.trimStart());
    return [judged(text.trim(), lineOf(bytes, firstCharacter), judgeNode(stmt, made))];
  });
}

function unparsable(sql: string, error: unknown): StatementVerdict {
  const message = messageOf(error);
  const position = hasSqlDetails(error) ? (error.sqlDetails?.cursorPosition ?? 0) : 0;
  const characters = [...sql];
  const line = characters.slice(0, position).filter((character) => character === "\n").length + 1;
  return judged(
    sql.split("\n")[line - 1] ?? "",
    line,
    refused(`PostgreSQL's parser does not read the file: ${message}`, {
      alternative: "plain SQL statements; no commands of psql",
    }),
  );
}

function lineOf(bytes: Buffer, position: number): number {
  let line = 1;
  for (let at = bytes.indexOf(10); at !== -1 && at < position; at = bytes.indexOf(10, at + 1)) line += 1;
  return line;
}
