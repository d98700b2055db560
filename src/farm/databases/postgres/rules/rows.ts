import type { DeleteStmt, InsertStmt, MergeStmt, SelectStmt, TruncateStmt, UpdateStmt } from "libpg-query";
import { additive, type Judgement, refused } from "../../verdict.ts";
import { changedTables, sideEffect } from "../expressions.ts";
import { relationName } from "../names.ts";
import type { NewObjects } from "../new-objects.ts";

const BATCHES =
  "fill in old rows in small batches after the expansion, by the new version or as a step of its own";

/** INSERT, UPDATE, DELETE or MERGE: rows of a new table only, and nothing else on the way. */
export function judgeChange(
  statement: InsertStmt | UpdateStmt | DeleteStmt | MergeStmt,
  made: NewObjects,
): Judgement {
  const table = relationName(statement.relation);
  if (!made.has("table", table)) {
    return refused(`it changes rows of ${table}, which the old version uses: row locks until its end`, {
      locks: [{ mode: "ROW EXCLUSIVE", on: table }],
      alternative: BATCHES,
    });
  }
  const effect = made.has("trigger", table)
    ? "its trigger does what cannot be seen here"
    : sideEffect(Object.values(statement));
  if (effect === undefined) return additive("rows of a new table");
  return refused(`it runs a query, and ${effect}`, { alternative: "constants, or a query that only reads" });
}

/** A SELECT of its own: it may read. */
export function judgeSelect(statement: SelectStmt): Judgement {
  const effect = statement.intoClause === undefined ? sideEffect(statement) : "it makes a table";
  if (effect === undefined) return additive("only reads");
  return refused(`it is a query, and ${effect}`, {
    locks: changedTables(statement).map((on) => ({ mode: "ROW EXCLUSIVE", on })),
    alternative: "write it as the statement that it stands for, or run it as a step of its own",
  });
}

export function judgeTruncate(statement: TruncateStmt, made: NewObjects): Judgement {
  const names = (statement.relations ?? []).map((node) =>
    "RangeVar" in node ? relationName(node.RangeVar) : "?",
  );
  const old = names.filter((name) => !made.has("table", name));
  if (old.length === 0 && statement.behavior !== "DROP_CASCADE") return additive("empties a new table");
  return refused("the rows that the old version needs would be gone", {
    locks: old.map((name) => ({ mode: "ACCESS EXCLUSIVE", on: name })),
    alternative: "leave it out",
  });
}
