import type {
  AlterObjectSchemaStmt,
  ClusterStmt,
  DropStmt,
  LockStmt,
  ReindexStmt,
  RenameStmt,
} from "libpg-query";
import { type Judgement, refused } from "../../verdict.ts";
import { dottedName, relationName } from "../names.ts";

const AFTER = "after the switch, when the old version is gone";

const LOCKED_OBJECTS = new Set([
  "OBJECT_TABLE",
  "OBJECT_VIEW",
  "OBJECT_MATVIEW",
  "OBJECT_SEQUENCE",
  "OBJECT_INDEX",
  "OBJECT_FOREIGN_TABLE",
]);

export function refuseDrop(statement: DropStmt): Judgement {
  const names = (statement.objects ?? []).map((node) =>
    "List" in node
      ? dottedName(node.List.items)
      : "TypeName" in node
        ? dottedName(node.TypeName.names)
        : "it",
  );
  const mode = statement.concurrent ? "SHARE UPDATE EXCLUSIVE" : "ACCESS EXCLUSIVE";
  const isRelation = LOCKED_OBJECTS.has(statement.removeType ?? "");
  return refused("the old version may use what is dropped, and it could not be switched back to", {
    locks: isRelation ? names.map((on) => ({ mode, on })) : [],
    alternative: AFTER,
  });
}

export function refuseRename(statement: RenameStmt): Judgement {
  const on = relationName(statement.relation);
  const column = statement.renameType === "OBJECT_COLUMN";
  return refused("the old version uses the old name", {
    locks: on === "" ? [] : [{ mode: "ACCESS EXCLUSIVE", on }],
    alternative: column
      ? "ADD COLUMN under the new name, or a view that names the columns as the new version wants"
      : "CREATE VIEW of the new name on the old table",
  });
}

export function refuseMove(statement: AlterObjectSchemaStmt): Judgement {
  const on = relationName(statement.relation);
  return refused("the old version does not find it in the other schema", {
    locks: on === "" ? [] : [{ mode: "ACCESS EXCLUSIVE", on }],
    alternative: "CREATE VIEW in the other schema",
  });
}

export function refuseLock(statement: LockStmt): Judgement {
  const names = (statement.relations ?? []).flatMap((node) =>
    "RangeVar" in node ? [relationName(node.RangeVar)] : [],
  );
  return refused("the old version waits for the lock", {
    locks: names.map((on) => ({ mode: "ACCESS EXCLUSIVE", on })),
    alternative: "leave it out: each statement takes the lock that it needs",
  });
}

export function refuseCluster(statement: ClusterStmt): Judgement {
  return refused("the table is rewritten while nobody can use it", {
    rewrites: true,
    locks: [{ mode: "ACCESS EXCLUSIVE", on: relationName(statement.relation) }],
    alternative: "after the switch, in a maintenance window",
  });
}

export function refuseReindex(statement: ReindexStmt): Judgement {
  const concurrent = JSON.stringify(statement.params ?? []).includes('"concurrently"');
  const on = relationName(statement.relation);
  return refused("it is no change of the schema", {
    locks: on === "" ? [] : [{ mode: concurrent ? "SHARE UPDATE EXCLUSIVE" : "SHARE", on }],
    alternative: "REINDEX CONCURRENTLY, as a step of its own",
  });
}

const simply = (reason: string, alternative?: string): Judgement =>
  refused(reason, alternative === undefined ? {} : { alternative });

const CLUSTER_WIDE = "it concerns the whole server, which the copies of the database do not hold";

/** Statements that are refused without a look inside. */
export const REFUSED_STATEMENTS: Readonly<Record<string, Judgement>> = {
  DoStmt: simply(
    "what its code does cannot be seen here",
    "the statements that it runs, as statements of the file",
  ),
  CallStmt: simply("what the procedure does cannot be seen here", "the statements that it runs"),
  CopyStmt: simply(
    "rows from outside are no change of the schema",
    "INSERT into a new table, or a step of its own",
  ),
  RuleStmt: simply("a rule changes what the old version's queries do", "a view of a new name"),
  CreateCastStmt: simply("queries of the old version may come to use it by themselves", "a function"),
  CreateOpClassStmt: simply("queries of the old version may come to use it by themselves"),
  CreateEventTrigStmt: simply("it runs at statements of others", "leave it out"),
  CreateRoleStmt: simply(CLUSTER_WIDE, "make the role first, as a step of its own"),
  AlterRoleStmt: simply(CLUSTER_WIDE, "as a step of its own"),
  AlterRoleSetStmt: simply(CLUSTER_WIDE, "as a step of its own"),
  DropRoleStmt: simply(CLUSTER_WIDE, AFTER),
  GrantRoleStmt: simply(CLUSTER_WIDE, "as a step of its own"),
  CreatedbStmt: simply(CLUSTER_WIDE, "as a step of its own"),
  DropdbStmt: simply(CLUSTER_WIDE, "leave it out"),
  AlterDatabaseSetStmt: simply(
    "the old version's sessions would have the setting too",
    "ALTER ROLE of the new version",
  ),
  AlterSystemStmt: simply(CLUSTER_WIDE, "as a step of its own"),
  CreateTableSpaceStmt: simply(CLUSTER_WIDE, "as a step of its own"),
  CreateSubscriptionStmt: simply(
    "rows would come from outside, into what the copies do not hold",
    "as a step of its own",
  ),
  AlterOwnerStmt: simply("the old version's role may lose its rights", "GRANT to the new version's role"),
  AlterPolicyStmt: simply("it changes which rows the old version sees", "a view for the new version"),
  AlterFunctionStmt: simply("the old version may use it", "a function of another name"),
  AlterDomainStmt: simply("the old version's values would be judged otherwise", "a new domain"),
  AlterTypeStmt: simply("the old version may use the type", "a new type"),
  AlterPublicationStmt: simply(
    "a subscriber of the old version may need it as it is",
    "a new publication of new tables",
  ),
  DropOwnedStmt: simply("the old version may use what is dropped", AFTER),
  PrepareStmt: simply("a session of its own has no prepared statements", "the statement itself"),
  ExecuteStmt: simply("what was prepared cannot be seen here", "the statement itself"),
};
