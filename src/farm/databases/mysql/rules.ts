import { additive, type Judgement, refused } from "../verdict.ts";
import { judgeAlterTable, judgeCreateIndex } from "./rules/alter-table.ts";
import { judgeCreateTable, judgeCreateView, judgeInsert, type NewNames } from "./rules/tables.ts";
import {
  calledFunctions,
  contains,
  field,
  isTree,
  list,
  objectName,
  qualifiedName,
  type Tree,
} from "./syntax.ts";

type Rule = (statement: Tree, made: NewNames) => Judgement;

const AFTER = "after the switch, when the old version is gone";
const SETTINGS_OF_THE_RUN = new Set(["lock_wait_timeout", "innodb_lock_wait_timeout", "max_statement_time"]);

const simply =
  (reason: string, alternative: string): Rule =>
  () =>
    refused(reason, { alternative });

const rowsOfOldTables = simply(
  "it changes rows, which the old version uses: row locks until its end",
  "fill in old rows in small batches after the expansion, by the new version or as a step of its own",
);

/** What may stand in a migration, and what is refused with a reason of its own; all else is refused. */
const RULES: Readonly<Record<string, Rule>> = {
  CreateTable: judgeCreateTable,
  CreateView: judgeCreateView,
  AlterTable: judgeAlterTable,
  CreateIndex: judgeCreateIndex,
  Insert: (statement, made) =>
    judgeInsert(statement, made, {
      functions: calledFunctions(statement),
      hasQuery: contains(statement, "Select"),
    }),
  CreateSequence: (statement) =>
    statement.temporary ? refused("it ends with the session") : additive("a new sequence", { run: "alone" }),
  Grant: () => additive("more rights than before", { run: "alone" }),
  Set: judgeSet,
  StartTransaction: () => additive("not run: every change of the schema commits by itself", { run: "skip" }),
  Commit: () => additive("not run: every change of the schema commits by itself", { run: "skip" }),
  Rollback: simply("a change of the schema cannot be taken back by it", "leave it out"),
  Update: rowsOfOldTables,
  Delete: rowsOfOldTables,
  Drop: (statement) =>
    refused("the old version may use what is dropped, and it could not be switched back to", {
      locks: list(statement.names).map((name) => ({ mode: "exclusive metadata lock", on: objectName(name) })),
      alternative: AFTER,
    }),
  Truncate: simply("the rows that the old version needs would be gone", "leave it out"),
  RenameTable: simply("the old version uses the old name", "CREATE VIEW of the new name on the old table"),
  AlterView: simply("the old version may use the view", "CREATE VIEW under another name"),
  Revoke: simply("the old version may need the right", AFTER),
  Use: simply("it would leave the database that has a copy", "one file for each database"),
  LockTables: simply("the old version waits for the lock", "leave it out"),
  Call: simply("what the procedure does cannot be seen here", "the statements that it runs"),
  Query: simply("a query changes no schema, and its functions may do anything", "leave it out"),
  CreateDatabase: simply("it is outside of the database that has a copy", "as a step of its own"),
};

/** Reasons for statements that the parser does not read, by how they begin. They are refused in any case. */
const UNREAD: readonly [RegExp, string, string][] = [
  [
    /^create\s.*\btrigger\b/is,
    "a trigger changes what the old version's writes do",
    "let the new version write both places",
  ],
  [
    /^create\s.*\b(procedure|function)\b/is,
    "what its code does cannot be seen here",
    "make it as a step of its own",
  ],
  [/^create\s.*\bevent\b/is, "it runs by itself, beside both versions", "make it after the switch"],
  [
    /^(create|alter|drop)\s+user\b/i,
    "it concerns the whole server, which the copies do not hold",
    "as a step of its own",
  ],
  [/^(optimize|repair|check|analyze)\b/i, "it is no change of the schema", "as a step of its own"],
  [/^load\s+data\b/i, "rows from outside are no change of the schema", "INSERT into a new table"],
  [/^create\s+(fulltext|spatial)\b/i, "writers wait while such an index is built", "after the switch"],
  [/^(prepare|execute)\b/i, "what is prepared cannot be seen here", "the statement itself"],
];

/** Judges one parsed statement, and remembers what it makes. */
export function judgeParsed(type: string, fields: Tree, made: NewNames): Judgement {
  const qualified = type === "Set" ? undefined : qualifiedName(fields);
  if (qualified !== undefined && type !== "Use") {
    return refused(`${qualified} names a database: it would be changed there, whatever copy this runs on`, {
      alternative: "names without a database",
    });
  }
  const rule = RULES[type];
  return rule
    ? rule(fields, made)
    : refused(`statements of this kind are not known to be additive (${type})`, {
        alternative: "run it as a step of its own",
      });
}

/** The refusal of a statement that the parser does not read. */
export function judgeUnread(sql: string, message: string): Judgement {
  const known = UNREAD.find(([beginning]) => beginning.test(sql));
  if (known) return refused(known[1], { alternative: known[2] });
  return refused(`the parser does not read it: ${message}`, { alternative: "a plainer form of the same" });
}

function judgeSet(statement: Tree): Judgement {
  const single = field(statement.SingleAssignment, "variable");
  const several = list(field(statement.MultipleAssignments, "assignments"));
  const scopes = [statement.SingleAssignment, ...several].map((one) =>
    String(field(one, "scope") ?? "Session"),
  );
  const names =
    single === undefined ? several.map((one) => objectName(field(one, "name"))) : [objectName(single)];
  const known = names.length > 0 && names.every((name) => SETTINGS_OF_THE_RUN.has(name.toLowerCase()));
  const isSession = scopes.every((scope) => scope === "Session");
  if ((known && isSession) || isTree(statement.SetNames)) {
    return additive("not run: the expansion sets its own", { run: "skip" });
  }
  return refused(`the setting ${names.join(", ")} is not known to be harmless`, {
    alternative: "leave it out",
  });
}
