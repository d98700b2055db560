import type { ColumnDef, Constraint } from "libpg-query";
import { additive, type Judgement, refused, together } from "../../verdict.ts";
import { judgeDefault } from "../expressions.ts";
import { dottedName } from "../names.ts";
import type { NewObjects } from "../new-objects.ts";
import { isKnownType, isSerial } from "../types.ts";
import { judgeForeignKey } from "./foreign-keys.ts";

const NULLABLE_FIRST =
  "ADD COLUMN … without it, then ALTER COLUMN … SET DEFAULT …, and fill the old rows in batches";

/** ADD COLUMN on a table that the old version uses: only what writes no row again and lets its inserts go on. */
export function judgeAddColumn(column: ColumnDef, table: string, made: NewObjects): Judgement {
  const name = column.colname ?? "";
  const locks = [{ mode: "ACCESS EXCLUSIVE", on: table }];
  const constraints = (column.constraints ?? []).flatMap((node) =>
    "Constraint" in node ? [node.Constraint] : [],
  );
  const clauses = [judgeType(column, made), ...constraints.map((one) => judgeColumnConstraint(one, made))];
  if (needsValue(constraints)) {
    clauses.push(
      refused("the old version's inserts do not name the column and would fail: NOT NULL without a default", {
        alternative: "give it a constant DEFAULT, or leave it nullable until the old version is gone",
      }),
    );
  }
  const judgement = together(
    clauses.filter((clause) => clause.verdict === "refused" || clause.locks.length > 0),
  );
  if (judgement.verdict === "refused" && clauses.some((clause) => clause.verdict === "refused")) {
    return { ...judgement, locks: [...locks, ...judgement.locks] };
  }
  made.addColumn(table, name);
  const how = constraints.some((one) => one.contype === "CONSTR_DEFAULT")
    ? "a constant default is stored once, no row is written"
    : "a nullable column, no row is written";
  const foreign = clauses.flatMap((clause) => clause.locks);
  return additive(how, { locks: [...locks, ...foreign], makes: [{ kind: "column", table, name }] });
}

function judgeType(column: ColumnDef, made: NewObjects): Judgement {
  const type = dottedName(column.typeName?.names);
  if (isSerial(column.typeName)) {
    return refused("a serial column has another value for each row: the table is rewritten", {
      rewrites: true,
      alternative: NULLABLE_FIRST.replace("without it", "bigint"),
    });
  }
  if (isKnownType(column.typeName, made)) return additive("a type of PostgreSQL's own");
  return refused(`the type ${type} may be a domain whose constraints make PostgreSQL rewrite the table`, {
    alternative: "a built-in type, or an enum made in this file",
  });
}

function judgeColumnConstraint(constraint: Constraint, made: NewObjects): Judgement {
  switch (constraint.contype) {
    case "CONSTR_NULL":
    case "CONSTR_NOTNULL":
    case "CONSTR_ATTR_DEFERRABLE":
    case "CONSTR_ATTR_NOT_DEFERRABLE":
    case "CONSTR_ATTR_DEFERRED":
    case "CONSTR_ATTR_IMMEDIATE":
      return additive("a new column");
    case "CONSTR_DEFAULT": {
      const value = judgeDefault(constraint.raw_expr, made);
      if (value.constant) return additive("a constant default");
      return refused(`${value.what}: ${value.rewrites ? "" : "then "}the table is rewritten`, {
        rewrites: value.rewrites,
        alternative: NULLABLE_FIRST.replace("without it", "without the default"),
      });
    }
    case "CONSTR_FOREIGN":
      return judgeForeignKey(constraint, "column", made);
    case "CONSTR_IDENTITY":
    case "CONSTR_GENERATED":
      return refused("its value is computed for each row: the table is rewritten", {
        rewrites: true,
        alternative: "a nullable column that the new version fills, or a view with the expression",
      });
    case "CONSTR_PRIMARY":
    case "CONSTR_UNIQUE":
      return refused("its index is built while nobody can use the table", {
        alternative:
          "add the column, then CREATE UNIQUE INDEX CONCURRENTLY once the old version writes no more",
      });
    case "CONSTR_CHECK":
      return refused("every row is read to check it, while nobody can use the table", {
        alternative: "check it in the new version; add it NOT VALID after the switch, then VALIDATE",
      });
    default:
      return refused(`a constraint of a kind that is not known to be additive (${constraint.contype})`);
  }
}

function needsValue(constraints: readonly Constraint[]): boolean {
  const defaultValue = constraints.find((one) => one.contype === "CONSTR_DEFAULT")?.raw_expr;
  const isNull =
    defaultValue !== undefined && "A_Const" in defaultValue && defaultValue.A_Const.isnull === true;
  return (
    constraints.some((one) => one.contype === "CONSTR_NOTNULL") && (defaultValue === undefined || isNull)
  );
}
