import type { IndexStmt } from "libpg-query";
import { additive, type Judgement, refused } from "../../verdict.ts";
import { possibleFailure } from "../expressions.ts";
import { relationName } from "../names.ts";
import type { NewObjects } from "../new-objects.ts";

/** CREATE INDEX: concurrently, with a name, not unique, and on what no insert of the old version can fail at. */
export function judgeCreateIndex(statement: IndexStmt, made: NewObjects): Judgement {
  const table = relationName(statement.relation);
  const name = statement.idxname;
  const locks = [{ mode: statement.concurrent ? "SHARE UPDATE EXCLUSIVE" : "SHARE", on: table }];
  const isNew = made.has("relation", table);
  if (statement.concurrent && name === undefined) {
    return refused("an index without a name cannot be recognised when an interrupted run goes on", {
      locks: isNew ? [] : locks,
      alternative: "CREATE INDEX CONCURRENTLY name ON …",
    });
  }
  const makes = name === undefined ? [] : [{ kind: "index" as const, table, name }];
  const run = statement.concurrent ? "alone" : "transaction";
  if (isNew) return additive("an index of a new table", { makes, run });
  if (statement.unique) {
    return refused("the old version's writes that repeat a value would fail", {
      locks,
      alternative: "after the switch, or an index that is not unique",
    });
  }
  if (!statement.concurrent) {
    return refused("all writers wait until the index is built", {
      locks,
      alternative: "CREATE INDEX CONCURRENTLY",
    });
  }
  const failure = possibleFailure([statement.indexParams, statement.whereClause]);
  if (failure !== undefined) {
    return refused(`it computes ${failure} for each row: where that fails, the old version's write fails`, {
      locks,
      alternative: "index a new column that the new version fills",
    });
  }
  return additive("built while readers and writers go on; values of more than 2,700 bytes fit no btree", {
    locks,
    makes,
    run,
  });
}
