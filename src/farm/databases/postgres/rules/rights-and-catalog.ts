import type {
  AlterEnumStmt,
  AlterSeqStmt,
  CommentStmt,
  CreateExtensionStmt,
  CreatePublicationStmt,
  CreateSchemaStmt,
  CreateSeqStmt,
  CreateStatsStmt,
  GrantStmt,
  Node,
  VacuumStmt,
} from "libpg-query";
import { additive, type Judgement, refused } from "../../verdict.ts";
import { dottedName, relationName } from "../names.ts";
import type { NewObjects } from "../new-objects.ts";
import { NOT_LASTING } from "./create-table.ts";

/** Extensions that only add types, functions and operators of their own. */
const EXTENSIONS = new Set(
  `btree_gin btree_gist citext cube earthdistance fuzzystrmatch hstore intarray isn ltree pg_trgm pgcrypto postgis
  tablefunc unaccent uuid-ossp vector`.split(/\s+/),
);

export function judgeGrant(statement: GrantStmt): Judgement {
  if (statement.is_grant) return additive("more rights than before");
  return refused("the old version may need the right", { alternative: "after the switch" });
}

/** COMMENT; the columns of a table are locked with it. */
export function judgeComment(statement: CommentStmt, made: NewObjects): Judgement {
  const { objtype, object } = statement;
  const parts = object && "List" in object ? (object.List.items ?? []) : [];
  const name = dottedName(objtype === "OBJECT_COLUMN" ? parts.slice(0, -1) : parts);
  const locked = ["OBJECT_TABLE", "OBJECT_COLUMN", "OBJECT_VIEW", "OBJECT_INDEX", "OBJECT_SEQUENCE"];
  if (!locked.includes(objtype ?? "") || made.has("relation", name)) return additive("words only");
  return additive("words only", { locks: [{ mode: "SHARE UPDATE EXCLUSIVE", on: name }] });
}

export function judgeAlterEnum(statement: AlterEnumStmt): Judgement {
  if (statement.oldVal === undefined) {
    return additive("a new value; the old version reads it once the new one has written it");
  }
  return refused("the old version uses the value's old name", {
    alternative: "ADD VALUE, and leave the old one",
  });
}

export function judgeCreateSequence(statement: CreateSeqStmt, made: NewObjects): Judgement {
  if (statement.sequence?.relpersistence === "t") return NOT_LASTING;
  if (!statement.if_not_exists) made.add("relation", relationName(statement.sequence));
  return additive("a new sequence");
}

export function judgeAlterSequence(statement: AlterSeqStmt, made: NewObjects): Judgement {
  const name = relationName(statement.sequence);
  if (made.has("relation", name)) return additive("a new sequence");
  return refused("the old version takes its numbers from it", {
    locks: [{ mode: "SHARE ROW EXCLUSIVE", on: name }],
    alternative: "a new sequence",
  });
}

export function judgeCreateSchema(statement: CreateSchemaStmt): Judgement {
  if ((statement.schemaElts ?? []).length === 0) return additive("a new schema");
  return refused("what it makes inside is not judged", {
    alternative: "CREATE SCHEMA alone, then statements of their own",
  });
}

export function judgeCreateExtension(statement: CreateExtensionStmt): Judgement {
  const name = statement.extname ?? "";
  if (EXTENSIONS.has(name)) return additive("adds types, functions and operators of its own");
  return refused(`what the script of the extension ${name} does cannot be seen here`, {
    alternative: "install it as a step of its own, then leave it out here",
  });
}

/** CREATE STATISTICS and ANALYZE concern the planner only. */
export function judgeStatistics(statement: CreateStatsStmt, made: NewObjects): Judgement {
  const names = (statement.relations ?? []).flatMap((node) =>
    "RangeVar" in node ? [relationName(node.RangeVar)] : [],
  );
  const old = names.filter((name) => !made.has("relation", name));
  return additive("concerns the planner only", {
    locks: old.map((on) => ({ mode: "SHARE UPDATE EXCLUSIVE", on })),
  });
}

export function judgeVacuum(statement: VacuumStmt, made: NewObjects): Judgement {
  const names = tables(statement.rels ?? []);
  const old = names.filter((name) => !made.has("relation", name));
  if (statement.is_vacuumcmd) {
    const isFull = JSON.stringify(statement.options ?? []).includes('"full"');
    return refused(
      isFull ? "the table is rewritten while nobody can use it" : "it is no change of the schema",
      {
        rewrites: isFull,
        locks: old.map((on) => ({ mode: isFull ? "ACCESS EXCLUSIVE" : "SHARE UPDATE EXCLUSIVE", on })),
        alternative: "run it as a step of its own",
      },
    );
  }
  return additive("concerns the planner only", {
    locks: old.map((on) => ({ mode: "SHARE UPDATE EXCLUSIVE", on })),
  });
}

function tables(nodes: readonly Node[]): string[] {
  return nodes.flatMap((node) =>
    "VacuumRelation" in node ? [relationName(node.VacuumRelation.relation)] : [],
  );
}

/** A publication with a table that has no replica identity makes UPDATE and DELETE there fail. */
export function judgePublication(statement: CreatePublicationStmt, made: NewObjects): Judgement {
  const names = (statement.pubobjects ?? []).map((node) =>
    "PublicationObjSpec" in node ? relationName(node.PublicationObjSpec.pubtable?.relation) : "?",
  );
  if (!statement.for_all_tables && names.length > 0 && names.every((name) => made.has("relation", name))) {
    return additive("publishes new tables");
  }
  return refused(
    "UPDATE and DELETE of the old version fail on a published table without a replica identity",
    {
      locks: names
        .filter((name) => !made.has("relation", name) && name !== "?")
        .map((on) => ({ mode: "SHARE UPDATE EXCLUSIVE", on })),
      alternative: "publish new tables only, or the others after the switch",
    },
  );
}
