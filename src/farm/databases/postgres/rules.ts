import type { Node } from "libpg-query";
import { additive, type Judgement, refused } from "../verdict.ts";
import { dottedName } from "./names.ts";
import type { NewObjects } from "./new-objects.ts";
import { judgeAlterTable } from "./rules/alter-table.ts";
import { judgeCreateTable, judgeCreateTableAs } from "./rules/create-table.ts";
import { judgeCreateIndex } from "./rules/indexes.ts";
import * as refusals from "./rules/refusals.ts";
import * as rights from "./rules/rights-and-catalog.ts";
import { judgeChange, judgeSelect, judgeTruncate } from "./rules/rows.ts";
import { judgeSet, judgeTransaction } from "./rules/session.ts";
import * as routines from "./rules/views-and-routines.ts";

type NodeOfType<Type extends string> = Extract<Node, Record<Type, unknown>>[Type &
  keyof Extract<Node, Record<Type, unknown>>];
type Rules = { [Type in string]?: (node: never, made: NewObjects) => Judgement };

/** A statement's rule by the type of its node; `typed` lets the compiler check that they fit. */
function typed<Type extends Node extends infer One ? (One extends Node ? keyof One & string : never) : never>(
  type: Type,
  rule: (node: NodeOfType<Type>, made: NewObjects) => Judgement,
): Rules {
  return { [type]: rule };
}

const newType = (names: readonly Node[] | undefined, made: NewObjects): Judgement => {
  made.add("type", dottedName(names));
  return additive("a new type");
};

/** What may stand in a migration. A statement that is in no table is refused. */
const RULES: Rules = {
  ...typed("CreateStmt", judgeCreateTable),
  ...typed("CreateTableAsStmt", judgeCreateTableAs),
  ...typed("AlterTableStmt", judgeAlterTable),
  ...typed("IndexStmt", judgeCreateIndex),
  ...typed("ViewStmt", routines.judgeCreateView),
  ...typed("CreateFunctionStmt", routines.judgeCreateFunction),
  ...typed("CreateTrigStmt", routines.judgeCreateTrigger),
  ...typed("CreatePolicyStmt", routines.judgeCreatePolicy),
  ...typed("DefineStmt", routines.judgeDefine),
  ...typed("RefreshMatViewStmt", routines.judgeRefresh),
  ...typed("CreateEnumStmt", (node, made) => newType(node.typeName, made)),
  ...typed("CreateRangeStmt", (node, made) => newType(node.typeName, made)),
  ...typed("CompositeTypeStmt", () => additive("a new type")),
  ...typed("CreateDomainStmt", () =>
    additive("a new type; a column of it is refused on a table that is there"),
  ),
  ...typed("AlterEnumStmt", rights.judgeAlterEnum),
  ...typed("CreateSeqStmt", rights.judgeCreateSequence),
  ...typed("AlterSeqStmt", rights.judgeAlterSequence),
  ...typed("CreateSchemaStmt", rights.judgeCreateSchema),
  ...typed("CreateExtensionStmt", rights.judgeCreateExtension),
  ...typed("CreatePublicationStmt", rights.judgePublication),
  ...typed("CommentStmt", rights.judgeComment),
  ...typed("GrantStmt", rights.judgeGrant),
  ...typed("AlterDefaultPrivilegesStmt", (node) => rights.judgeGrant(node.action ?? {})),
  ...typed("CreateStatsStmt", rights.judgeStatistics),
  ...typed("VacuumStmt", rights.judgeVacuum),
  ...typed("InsertStmt", judgeChange),
  ...typed("UpdateStmt", judgeChange),
  ...typed("DeleteStmt", judgeChange),
  ...typed("MergeStmt", judgeChange),
  ...typed("SelectStmt", judgeSelect),
  ...typed("TruncateStmt", (node, made) => judgeTruncate(node, made)),
  ...typed("VariableSetStmt", judgeSet),
  ...typed("TransactionStmt", judgeTransaction),
  ...typed("DropStmt", refusals.refuseDrop),
  ...typed("RenameStmt", refusals.refuseRename),
  ...typed("AlterObjectSchemaStmt", refusals.refuseMove),
  ...typed("LockStmt", refusals.refuseLock),
  ...typed("ClusterStmt", refusals.refuseCluster),
  ...typed("ReindexStmt", refusals.refuseReindex),
};

/** Judges one parsed statement, and remembers what it makes. */
export function judgeNode(node: Node, made: NewObjects): Judgement {
  const [entry] = Object.entries(node);
  if (entry === undefined) return refused("an empty statement");
  const [type, value] = entry;
  const rule = RULES[type];
  if (rule) return rule(value as never, made);
  return (
    refusals.REFUSED_STATEMENTS[type] ??
    refused(`statements of this kind are not known to be additive (${type})`, {
      alternative: "run it as a step of its own",
    })
  );
}
