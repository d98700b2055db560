import { additive, type Judgement, type Lock, refused, together } from "../../verdict.ts";
import { field, isTree, list, objectName, type Tree, variant } from "../syntax.ts";
import { judgeColumn } from "./columns.ts";
import type { NewNames } from "./tables.ts";

const INSTANT: Lock["mode"] = "brief exclusive metadata lock";
const WHOLE: Lock["mode"] = "lock that writers wait for";
const AFTER = "after the switch, when the old version is gone";

/** What the statement says of its algorithm and lock, in lower case; `default` when it says nothing. */
interface Online {
  algorithm: string;
  lock: string;
}

/** ALTER TABLE: every clause must be additive, and the server is told to refuse rather than to block. */
export function judgeAlterTable(statement: Tree, made: NewNames): Judgement {
  const table = objectName(statement.name);
  const operations = list(statement.operations);
  const judgement = together(
    operations.filter((one) => !isOnlineClause(one)).map((one) => judgeOperation(one, table)),
  );
  if (made.tables.has(table) && operations.every((one) => OWN.has(variant(one).name))) {
    return { ...additive("a new table", { makes: judgement.makes }), run: "alone" };
  }
  if (judgement.verdict === "refused") return judgement;
  const hasIndex = judgement.makes.some(({ kind }) => kind === "index");
  return { ...requireOnline(judgement, onlineClauses(operations), hasIndex), run: "alone" };
}

/** CREATE INDEX: with a name, not unique, on columns only, and online. */
export function judgeCreateIndex(statement: Tree, made: NewNames): Judgement {
  const table = objectName(statement.table_name);
  const name = objectName(statement.name);
  const makes = [{ kind: "index" as const, table, name }];
  if (made.tables.has(table)) return additive("an index of a new table", { makes, run: "alone" });
  if (statement.unique) return uniqueRefused(table);
  const judgement = judgeIndexColumns(list(statement.columns), table, name);
  if (judgement.verdict === "refused") return judgement;
  return { ...requireOnline(judgement, onlineClauses(list(statement.alter_options)), true), run: "alone" };
}

/** Clauses that a new table may have as it likes; a key to another table is not among them. */
const OWN = new Set([
  "AddColumn",
  "DropColumn",
  "ModifyColumn",
  "ChangeColumn",
  "AlterColumn",
  "Algorithm",
  "Lock",
]);

function isOnlineClause(operation: unknown): boolean {
  return ["Algorithm", "Lock"].includes(variant(operation).name);
}

function onlineClauses(operations: readonly unknown[]): Online {
  const said = (clause: string, key: string) =>
    String(
      field(
        operations.map((one) => field(one, clause)).findLast((one) => one !== undefined),
        key,
      ) ?? "default",
    );
  return {
    algorithm: said("Algorithm", "algorithm").toLowerCase(),
    lock: said("Lock", "lock").toLowerCase(),
  };
}

/** Without these words the server would silently copy the table under a lock where it cannot do better. */
function requireOnline(judgement: Judgement, { algorithm, lock }: Online, hasIndex: boolean): Judgement {
  const instant = algorithm === "instant" && !hasIndex && ["default", "none"].includes(lock);
  const online = algorithm === "inplace" && lock === "none";
  if (instant || online) return { ...judgement, rewrites: online && !hasIndex };
  const words = hasIndex ? "ALGORITHM=INPLACE, LOCK=NONE" : "ALGORITHM=INSTANT";
  return refused("the server may copy the table while writers wait, and does not say so", {
    locks: judgement.locks.map(({ on }) => ({ mode: WHOLE, on })),
    alternative: `the same with ${words}: the server then refuses rather than blocks`,
  });
}

function judgeOperation(operation: unknown, table: string): Judgement {
  const { name, value } = variant(operation);
  if (name === "AddColumn") return judgeAddColumn(value, table);
  if (name === "AddConstraint") return judgeAddConstraint(field(value, "constraint"), table);
  const { reason, alternative } = REFUSALS[name] ?? {
    reason: `this alteration is not known to be additive (${name})`,
    alternative: AFTER,
  };
  return refused(reason, { alternative, locks: [{ mode: WHOLE, on: table }], rewrites: REWRITES.has(name) });
}

function judgeAddColumn(value: unknown, table: string): Judgement {
  const column = field(value, "column_def");
  const locks = [{ mode: INSTANT, on: table }];
  const name = String(field(field(column, "name"), "value"));
  const judgement = judgeColumn(column);
  if (judgement.verdict === "refused") return { ...judgement, locks: [{ mode: WHOLE, on: table }] };
  return { ...judgement, locks, makes: [{ kind: "column", table, name }] };
}

function judgeAddConstraint(constraint: unknown, table: string): Judgement {
  const { name, value } = variant(constraint);
  if (name === "Index" && isTree(value)) {
    if (value.name === undefined) {
      return refused("an index without a name cannot be recognised when an interrupted run goes on", {
        locks: [{ mode: INSTANT, on: table }],
        alternative: "ADD INDEX name (…)",
      });
    }
    return judgeIndexColumns(list(value.columns), table, String(field(value.name, "value")));
  }
  if (name === "Unique") return uniqueRefused(table);
  const fulltext = name === "FulltextOrSpatial";
  return refused(
    fulltext
      ? "writers wait while such an index is built"
      : "the old version's writes would be checked too, and fail where they do not pass",
    { locks: [{ mode: WHOLE, on: table }], alternative: fulltext ? "after the switch" : AFTER },
  );
}

function judgeIndexColumns(columns: readonly unknown[], table: string, name: string): Judgement {
  const locks = [{ mode: INSTANT, on: table }];
  const isPlain = (column: unknown) => {
    const { name: kind, value } = variant(field(field(column, "column"), "expr"));
    return kind === "Identifier" || (kind === "Function" && isPrefix(value));
  };
  if (!columns.every(isPlain)) {
    return refused(
      "an expression is computed for each row: where that fails, the old version's write fails",
      {
        locks,
        alternative: "index a new column that the new version fills",
      },
    );
  }
  return additive("built while readers and writers go on", {
    locks,
    makes: [{ kind: "index", table, name }],
  });
}

/** `name(10)`, the first ten characters of a column, looks like the call of a function. */
function isPrefix(call: unknown): boolean {
  const args = list(field(field(field(call, "args"), "List"), "args"));
  const argument = field(field(field(args[0], "Unnamed"), "Expr"), "Value");
  return args.length === 1 && field(field(argument, "value"), "Number") !== undefined;
}

function uniqueRefused(table: string): Judgement {
  return refused("the old version's writes that repeat a value would fail", {
    locks: [{ mode: INSTANT, on: table }],
    alternative: "after the switch, or an index that is not unique",
  });
}

const REWRITES = new Set(["ModifyColumn", "ChangeColumn", "DropPrimaryKey"]);
const INSTEAD_OF_TYPE = "a new column of the new type that the new version writes beside the old one";

const REFUSALS: Readonly<Record<string, { reason: string; alternative: string }>> = {
  DropColumn: { reason: "the old version reads and writes the column", alternative: AFTER },
  DropConstraint: { reason: "the old version relies on what the constraint holds", alternative: AFTER },
  DropForeignKey: { reason: "the old version relies on what the key holds", alternative: AFTER },
  DropIndex: { reason: "the old version's queries may need the index", alternative: AFTER },
  DropPrimaryKey: { reason: "the old version relies on the key", alternative: AFTER },
  RenameTable: {
    reason: "the old version uses the old name",
    alternative: "CREATE VIEW of the new name on the old table",
  },
  RenameColumn: {
    reason: "the old version uses the old name",
    alternative: "ADD COLUMN under the new name, or a view",
  },
  ModifyColumn: {
    reason: "the old version expects the column as it is, and most changes copy the table",
    alternative: INSTEAD_OF_TYPE,
  },
  ChangeColumn: {
    reason: "the old version expects the column as it is, and most changes copy the table",
    alternative: INSTEAD_OF_TYPE,
  },
  AlterColumn: {
    reason: "the old version's inserts would store another value than now, or fail",
    alternative: "let the new version write the value",
  },
  AutoIncrement: { reason: "the old version takes its numbers from it", alternative: AFTER },
};
