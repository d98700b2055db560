import { additive, type Judgement, refused, together } from "../../verdict.ts";
import { field, isTree, list, objectName, type Tree, variant } from "../syntax.ts";

/** Tables and views that the file has made so far. */
export interface NewNames {
  tables: Set<string>;
  views: Set<string>;
}

/** CREATE TABLE: only what touches other tables matters. */
export function judgeCreateTable(statement: Tree, made: NewNames): Judgement {
  const name = objectName(statement.name);
  if (statement.temporary) {
    return refused("a temporary table ends with the session and is no change of the schema", {
      alternative: "an ordinary table, dropped after the switch",
    });
  }
  if (statement.or_replace) {
    return refused("the old version may use the table that is replaced", { alternative: "another name" });
  }
  if (statement.query !== undefined) {
    return refused("the rows that it reads stay locked for writers until it is done", {
      alternative: "CREATE TABLE, filled by the new version",
    });
  }
  const judgement = together([
    additive("a new table"),
    ...foreignKeys(statement)
      .filter((key) => objectName(key.foreign_table) !== name)
      .map((key) => judgeForeignKey(key, made)),
  ]);
  if (judgement.verdict === "refused") return judgement;
  if (!statement.if_not_exists) made.tables.add(name);
  return { ...judgement, makes: [{ kind: "table", name }], run: "alone" };
}

function foreignKeys(statement: Tree): Tree[] {
  const own = list(statement.columns).flatMap((column) =>
    list(field(column, "options")).map((option) => field(field(option, "option"), "ForeignKey")),
  );
  const keys = list(statement.constraints).map((constraint) => field(constraint, "ForeignKey"));
  return [...own, ...keys].filter(isTree);
}

/** Whether the old version can still delete in the referenced table. */
function judgeForeignKey(key: Tree, made: NewNames): Judgement {
  const target = objectName(key.foreign_table);
  if (made.tables.has(target)) return additive("references a new table");
  const locks = [{ mode: "brief exclusive metadata lock (MySQL, not MariaDB)", on: target }];
  if (["Cascade", "SetNull"].includes(String(key.on_delete))) {
    return additive("deletes there go on, changes of a key that a new row refers to do not", { locks });
  }
  return refused(
    `the old version could no longer delete a row of ${target} that a new row refers to: it does not know the new rows`,
    { locks, alternative: "ON DELETE CASCADE or SET NULL, or add the key after the switch" },
  );
}

/** CREATE VIEW of a new name. */
export function judgeCreateView(statement: Tree, made: NewNames): Judgement {
  const name = objectName(statement.name);
  if ((statement.or_replace || statement.or_alter) && !made.views.has(name)) {
    return refused("the old version may use the view that is replaced", {
      locks: [{ mode: "exclusive metadata lock", on: name }],
      alternative: "CREATE VIEW under another name, that the new version uses",
    });
  }
  made.views.add(name);
  return additive("a new view", { makes: [{ kind: "view", name }], run: "alone" });
}

const HARMLESS_FUNCTIONS = new Set(
  `now current_timestamp utc_timestamp current_date curdate unix_timestamp uuid concat concat_ws lower upper trim replace
  json_object json_array md5 sha1 sha2 date_add date_sub coalesce ifnull rand`.split(/\s+/),
);

/** INSERT of constants into a new table; all other changes of rows are refused. */
export function judgeInsert(
  statement: Tree,
  made: NewNames,
  facts: { functions: readonly string[]; hasQuery: boolean },
): Judgement {
  const table = objectName(variant(statement.table).value);
  if (!made.tables.has(table)) {
    return refused(`it changes rows of ${table}, which the old version uses: row locks until its end`, {
      locks: [{ mode: "row locks", on: table }],
      alternative:
        "fill in old rows in small batches after the expansion, by the new version or as a step of its own",
    });
  }
  if (facts.hasQuery) {
    return refused("the rows that it reads stay locked for writers until it is done", {
      alternative: "INSERT … VALUES, or filled by the new version",
    });
  }
  const strange = facts.functions.find((name) => !HARMLESS_FUNCTIONS.has(name));
  if (strange === undefined) return additive("rows of a new table");
  return refused(`it calls ${strange}(), and what that does cannot be seen here`, {
    alternative: "constants",
  });
}
