import { messageOf } from "../../../errors.ts";
import { type Judgement, judged, type MigrationVerdict, refused } from "../verdict.ts";
import type { NewNames } from "./rules/tables.ts";
import { judgeParsed, judgeUnread } from "./rules.ts";
import { type RawStatement, splitStatements } from "./statements.ts";
import { loadParser, parseStatement } from "./syntax.ts";

/**
 * Judges every statement of a migration for MariaDB or MySQL. A statement that the parser cannot read is refused, and so is
 * one that parser and server may read differently.
 */
export async function judgeMysqlMigration(text: string): Promise<MigrationVerdict> {
  await loadParser();
  const made: NewNames = { tables: new Set(), views: new Set() };
  const statements = splitStatements(text).map((raw) => judged(raw.sql, raw.line, judgeRaw(raw, made)));
  return {
    engine: "mysql",
    statements,
    refused: statements.filter(({ verdict }) => verdict === "refused").length,
  };
}

function judgeRaw({ sql, problem }: RawStatement, made: NewNames): Judgement {
  if (problem !== undefined) return refused(`it holds ${problem}`, { alternative: "leave it out" });
  try {
    const { type, fields } = parseStatement(sql);
    return judgeParsed(type, fields, made);
  } catch (error) {
    return judgeUnread(sql, messageOf(error));
  }
}
