import type { AlterTableCmd, AlterTableStmt, Node } from "libpg-query";
import { additive, type Judgement, type Lock, refused, together } from "../../verdict.ts";
import { judgeDefault } from "../expressions.ts";
import { relationName } from "../names.ts";
import type { NewObjects } from "../new-objects.ts";
import { judgeAddColumn } from "./add-column.ts";
import { judgeAddConstraint } from "./add-constraint.ts";
import { judgeForeignKey } from "./foreign-keys.ts";
import { REFUSED_ALTERATIONS } from "./refused-alterations.ts";

type Alteration = (command: AlterTableCmd, table: string, made: NewObjects) => Judgement;

const GENTLE_OPTIONS = /^(fillfactor|parallel_workers|toast_tuple_target|autovacuum_\w+)$/;

/** What may be altered on a table that the old version uses; all else is refused. */
const ALTERATIONS: Readonly<Record<string, Alteration>> = {
  AT_AddColumn: (command, table, made) =>
    command.def && "ColumnDef" in command.def
      ? judgeAddColumn(command.def.ColumnDef, table, made)
      : refused("ADD COLUMN without a column"),
  AT_ColumnDefault: judgeSetDefault,
  AT_AddConstraint: (command, table) => judgeAddConstraint(command, table),
  AT_ValidateConstraint: (_, table) =>
    additive("reads the table, nobody waits; new rows are checked already", {
      locks: [{ mode: "SHARE UPDATE EXCLUSIVE", on: table }],
    }),
  AT_SetStatistics: (_, table) =>
    additive("concerns the planner only", { locks: [{ mode: "SHARE UPDATE EXCLUSIVE", on: table }] }),
  AT_SetRelOptions: judgeOptions,
  AT_ResetRelOptions: judgeOptions,
  AT_AttachPartition: judgeAttach,
};

/** ALTER TABLE, INDEX, VIEW and so on: every clause is judged; a relation made in the same file may be altered freely. */
export function judgeAlterTable(statement: AlterTableStmt, made: NewObjects): Judgement {
  const table = relationName(statement.relation);
  const commands = (statement.cmds ?? []).flatMap((node) =>
    "AlterTableCmd" in node ? [node.AlterTableCmd] : [],
  );
  if (made.has("relation", table)) {
    return together([
      additive("a new relation"),
      ...commands.map((command) => judgeOwn(command, table, made)),
    ]);
  }
  if (statement.objtype !== "OBJECT_TABLE") {
    return refused(`${table} is there already and the old version may use it`, {
      alternative: "make a new one beside it",
    });
  }
  return together(
    commands.map((command) => {
      const subtype = command.subtype ?? "";
      return (ALTERATIONS[subtype] ?? refusedAlteration)(command, table, made);
    }),
  );
}

/** On a new table only what reaches another one matters. */
function judgeOwn(command: AlterTableCmd, table: string, made: NewObjects): Judgement {
  const { def } = command;
  const reached = attached(def);
  if (reached !== undefined && !made.has("relation", reached)) return foreignPartition(reached);
  if (["AT_AddInherit", "AT_DropInherit", "AT_AddOf"].includes(command.subtype ?? "")) {
    return refused("queries of the parent would return the rows of the new table too", {
      locks: [{ mode: "SHARE UPDATE EXCLUSIVE", on: "the parent" }],
    });
  }
  const constraints =
    def && "ColumnDef" in def
      ? (def.ColumnDef.constraints ?? [])
      : def && "Constraint" in def
        ? [def]
        : ([] as Node[]);
  const keys = constraints.flatMap((node) =>
    "Constraint" in node && node.Constraint.contype === "CONSTR_FOREIGN" ? [node.Constraint] : [],
  );
  return together([
    additive("a new relation"),
    ...keys.map((key) =>
      relationName(key.pktable) === table
        ? additive("references itself")
        : judgeForeignKey(key, "table", made),
    ),
  ]);
}

function judgeSetDefault(command: AlterTableCmd, table: string, made: NewObjects): Judgement {
  const locks: Lock[] = [{ mode: "ACCESS EXCLUSIVE", on: table }];
  if (!made.hasColumn(table, command.name ?? "")) {
    return refused("the old version's inserts would store another value than now", {
      locks,
      alternative: "let the new version write the value",
    });
  }
  if (command.def === undefined) return additive("concerns a new column", { locks });
  const value = judgeDefault(command.def, made);
  if (!value.constant && !value.rewrites) {
    return refused(`${value.what}: where that fails, the old version's inserts fail`, { locks });
  }
  return additive("concerns a new column; rows that are there stay as they are", { locks });
}

function judgeOptions(command: AlterTableCmd, table: string): Judgement {
  const items = command.def && "List" in command.def ? (command.def.List.items ?? []) : [];
  const names = items.map((item) => ("DefElem" in item ? (item.DefElem.defname ?? "") : ""));
  const locks = [{ mode: "SHARE UPDATE EXCLUSIVE", on: table }];
  const strange = names.find((name) => !GENTLE_OPTIONS.test(name));
  if (strange === undefined) return additive("concerns storage and vacuum only", { locks });
  return refused(`the option ${strange} is not known to be harmless`, {
    locks: [{ mode: "ACCESS EXCLUSIVE", on: table }],
  });
}

function judgeAttach(command: AlterTableCmd, table: string, made: NewObjects): Judgement {
  const partition = attached(command.def) ?? "?";
  if (!made.has("table", partition)) return foreignPartition(partition);
  made.shareTable(partition);
  return additive("a new partition, empty; a default partition is read and locked until that is done", {
    locks: [{ mode: "SHARE UPDATE EXCLUSIVE", on: table }],
  });
}

function foreignPartition(partition: string): Judgement {
  return refused(`the rows of ${partition} would appear in the partitioned table`, {
    locks: [{ mode: "ACCESS EXCLUSIVE", on: partition }],
    alternative: "attach only a table made in this file",
  });
}

function attached(def: Node | undefined): string | undefined {
  return def && "PartitionCmd" in def ? relationName(def.PartitionCmd.name) : undefined;
}

function refusedAlteration(command: AlterTableCmd, table: string): Judgement {
  const subtype = command.subtype ?? "";
  const { reason, mode, rewrites, alternative } = REFUSED_ALTERATIONS[subtype] ?? {
    reason: `this alteration is not known to be additive (${subtype})`,
    mode: "ACCESS EXCLUSIVE",
    rewrites: false,
  };
  const partition = attached(command.def);
  return refused(reason, {
    rewrites,
    locks: [table, ...(partition === undefined ? [] : [partition])].map((on) => ({ mode, on })),
    ...(alternative === undefined ? {} : { alternative }),
  });
}
