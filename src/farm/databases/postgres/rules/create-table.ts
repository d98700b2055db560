import type { Constraint, CreateStmt, CreateTableAsStmt, Node } from "libpg-query";
import { additive, type Judgement, refused, together } from "../../verdict.ts";
import { sideEffect } from "../expressions.ts";
import { relationName } from "../names.ts";
import type { NewObjects } from "../new-objects.ts";
import { judgeForeignKey } from "./foreign-keys.ts";

const TEMPORARY = "t";

export const NOT_LASTING = refused(
  "a temporary relation ends with the session and is no change of the schema",
  {
    alternative: "an ordinary table, dropped after the switch",
  },
);

/** CREATE TABLE: only what touches other tables matters. */
export function judgeCreateTable(statement: CreateStmt, made: NewObjects): Judgement {
  const name = relationName(statement.relation);
  if (statement.relation?.relpersistence === TEMPORARY) return NOT_LASTING;
  const parents = (statement.inhRelations ?? []).map((node) =>
    "RangeVar" in node ? relationName(node.RangeVar) : "?",
  );
  const judgement = together([
    additive("a new table"),
    ...parents
      .filter((parent) => !made.has("relation", parent))
      .map((parent) => judgeParent(parent, statement)),
    ...foreignKeys(statement.tableElts ?? []).map((key) =>
      relationName(key.pktable) === name
        ? additive("references itself")
        : judgeForeignKey(key, "table", made),
    ),
  ]);
  if (judgement.verdict === "refused") return judgement;
  if (!statement.if_not_exists) made.addTable(name);
  const reason = statement.if_not_exists
    ? "a new table, unless it is there: later statements treat it as there"
    : judgement.reason;
  return { ...judgement, reason, makes: [{ kind: "table", name }] };
}

function judgeParent(parent: string, statement: CreateStmt): Judgement {
  if (statement.partbound === undefined) {
    return refused(`queries of ${parent} would return the rows of the new table too`, {
      locks: [{ mode: "SHARE UPDATE EXCLUSIVE", on: parent }],
      alternative: "a table of its own: CREATE TABLE … (LIKE …)",
    });
  }
  return refused(`nobody can use ${parent} while its partition is made`, {
    locks: [{ mode: "ACCESS EXCLUSIVE", on: parent }],
    alternative: `CREATE TABLE … (LIKE ${parent} INCLUDING ALL), then ALTER TABLE ${parent} ATTACH PARTITION …`,
  });
}

function foreignKeys(elements: readonly Node[]): Constraint[] {
  const constraints = elements.flatMap((element) => {
    if ("Constraint" in element) return [element.Constraint];
    const own = "ColumnDef" in element ? (element.ColumnDef.constraints ?? []) : [];
    return own.flatMap((node) => ("Constraint" in node ? [node.Constraint] : []));
  });
  return constraints.filter((constraint) => constraint.contype === "CONSTR_FOREIGN");
}

/** CREATE TABLE … AS and CREATE MATERIALIZED VIEW run a query: it must do nothing but read. */
export function judgeCreateTableAs(statement: CreateTableAsStmt, made: NewObjects): Judgement {
  const name = relationName(statement.into?.rel);
  if (statement.into?.rel?.relpersistence === TEMPORARY) return NOT_LASTING;
  const effect = sideEffect(statement.query);
  if (effect !== undefined) {
    return refused(`it runs a query, and ${effect}`, {
      alternative: "CREATE TABLE, filled by the new version",
    });
  }
  if (!statement.if_not_exists) made.addTable(name);
  return additive("a new relation, filled by a query that only reads", { makes: [{ kind: "table", name }] });
}
