import type { AlterTableCmd, ConstrType } from "libpg-query";
import { type Judgement, refused } from "../../verdict.ts";
import { relationName } from "../names.ts";

interface Refusal {
  reason: string;
  mode: string;
  alternative: string;
}

const REFUSALS: Partial<Record<ConstrType, Refusal>> = {
  CONSTR_CHECK: {
    reason:
      "the old version's rows would be checked, and its writes that do not pass would fail, even with NOT VALID",
    mode: "ACCESS EXCLUSIVE",
    alternative: "check it in the new version; add it NOT VALID after the switch, then VALIDATE CONSTRAINT",
  },
  CONSTR_FOREIGN: {
    reason:
      "the old version's writes that do not pass would fail, even with NOT VALID, as would its deletes of rows referred to",
    mode: "SHARE ROW EXCLUSIVE",
    alternative: "add it NOT VALID after the switch, then VALIDATE CONSTRAINT",
  },
  CONSTR_UNIQUE: {
    reason: "the old version's duplicates would fail, and the index is built while nobody can use the table",
    mode: "ACCESS EXCLUSIVE",
    alternative: "after the switch: CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX",
  },
  CONSTR_PRIMARY: {
    reason:
      "its columns become NOT NULL and unique for the old version too, and an index is built under the lock",
    mode: "ACCESS EXCLUSIVE",
    alternative: "after the switch: CREATE UNIQUE INDEX CONCURRENTLY, then ADD PRIMARY KEY USING INDEX",
  },
  CONSTR_EXCLUSION: {
    reason:
      "the old version's rows that conflict would fail, and the index is built while nobody can use the table",
    mode: "ACCESS EXCLUSIVE",
    alternative: "after the switch, in a maintenance window, or check it in the new version",
  },
  CONSTR_NOTNULL: {
    reason: "the old version's inserts that leave the column out would fail",
    mode: "ACCESS EXCLUSIVE",
    alternative: "after the switch",
  },
};

/** ADD CONSTRAINT on a table that the old version writes: its writes would be checked too, so none is additive. */
export function judgeAddConstraint(command: AlterTableCmd, table: string): Judgement {
  const constraint = command.def && "Constraint" in command.def ? command.def.Constraint : undefined;
  const refusal = constraint?.contype === undefined ? undefined : REFUSALS[constraint.contype];
  const { reason, mode, alternative } = refusal ?? {
    reason: "the old version's writes would be checked too",
    mode: "ACCESS EXCLUSIVE",
    alternative: "after the switch",
  };
  const referenced = relationName(constraint?.pktable);
  const others = referenced === "" || referenced === table ? [] : [{ mode, on: referenced }];
  return refused(reason, { locks: [{ mode, on: table }, ...others], alternative });
}
