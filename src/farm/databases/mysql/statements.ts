/** A statement of a file, without its comments. */
export interface RawStatement {
  sql: string;
  line: number;
  /** Why it may mean something else to the server than to a parser; it must not be run. */
  problem?: string;
}

type Span = { end: number; problem?: string };

const EXECUTABLE_COMMENT = /^\/\*(M?!)/;

/**
 * Splits a MySQL file into statements and removes comments, so that what is parsed is what is run. Whatever servers and parsers
 * read differently is reported as a problem: executable comments, `--` without a blank after it, DELIMITER.
 *
 * Strings are read with backslash escapes and with `"` as a string: the session that runs them has no ANSI_QUOTES and no
 * NO_BACKSLASH_ESCAPES.
 */
export function splitStatements(text: string): RawStatement[] {
  const statements: RawStatement[] = [];
  let sql = "";
  let start = 0;
  let problem: string | undefined;
  const finish = () => {
    if (sql.trim() !== "") {
      statements.push({
        sql: sql.trim(),
        line: lineAt(text, start),
        ...(problem === undefined ? {} : { problem }),
      });
    }
    sql = "";
    problem = undefined;
  };
  for (let at = 0; at < text.length; ) {
    const remark = comment(text, at);
    const span = remark ?? quoted(text, at);
    const isComment = remark !== undefined && remark.problem === undefined;
    const end = span?.end ?? at + 1;
    const part = text.slice(at, end);
    if (sql.trim() === "" && !isComment && part.trim() !== "") start = at;
    problem ??= span?.problem ?? doubleDash(text, at, span);
    if (span === undefined && part === ";") finish();
    else sql += isComment ? " " : part;
    at = end;
  }
  finish();
  return statements.map(delimiterProblem);
}

function comment(text: string, at: number): Span | undefined {
  if (text[at] === "#" || /^--(\s|$)/.test(text.slice(at, at + 3))) {
    const newline = text.indexOf("\n", at);
    return { end: newline === -1 ? text.length : newline };
  }
  if (!text.startsWith("/*", at)) return undefined;
  const close = text.indexOf("*/", at + 2);
  const problem = EXECUTABLE_COMMENT.test(text.slice(at, at + 4))
    ? "a comment that some servers run (/*! … */) and others do not"
    : close === -1
      ? "a comment without an end"
      : undefined;
  return { end: close === -1 ? text.length : close + 2, ...(problem === undefined ? {} : { problem }) };
}

function quoted(text: string, at: number): Span | undefined {
  const quote = text[at] ?? "";
  if (!"'\"`".includes(quote) || quote === "") return undefined;
  let end = at + 1;
  while (end < text.length) {
    const character = text[end];
    if (character === "\\" && quote !== "`") end += 2;
    else if (character !== quote) end += 1;
    else if (text[end + 1] === quote) end += 2;
    else return { end: end + 1 };
  }
  return { end: text.length, problem: "a quote without an end" };
}

function doubleDash(text: string, at: number, span: Span | undefined): string | undefined {
  return span === undefined && text.startsWith("--", at)
    ? "'--' without a blank after it, which is a comment to some and two signs to others"
    : undefined;
}

function delimiterProblem(statement: RawStatement): RawStatement {
  return /^delimiter\b/i.test(statement.sql)
    ? { ...statement, problem: "DELIMITER is a command of the client, not of the server" }
    : statement;
}

function lineAt(text: string, position: number): number {
  return text.slice(0, position).split("\n").length;
}
