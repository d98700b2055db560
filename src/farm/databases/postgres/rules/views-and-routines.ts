import type {
  CreateFunctionStmt,
  CreatePolicyStmt,
  CreateTrigStmt,
  DefineStmt,
  RefreshMatViewStmt,
  ViewStmt,
} from "libpg-query";
import { additive, type Judgement, refused } from "../../verdict.ts";
import { dottedName, relationName } from "../names.ts";
import type { NewObjects } from "../new-objects.ts";
import { NOT_LASTING } from "./create-table.ts";

/** CREATE VIEW of a new name; its query runs only when the new version asks. */
export function judgeCreateView(statement: ViewStmt, made: NewObjects): Judgement {
  const name = relationName(statement.view);
  if (statement.view?.relpersistence === "t") return NOT_LASTING;
  if (statement.replace && !made.has("relation", name)) {
    return refused("the old version may use the view that is replaced", {
      locks: [{ mode: "ACCESS EXCLUSIVE", on: name }],
      alternative: "CREATE VIEW under another name, that the new version uses",
    });
  }
  made.add("relation", name);
  return additive("a new view", { makes: [{ kind: "view", name }] });
}

/** CREATE FUNCTION or PROCEDURE of a new name; its body is not run. */
export function judgeCreateFunction(statement: CreateFunctionStmt, made: NewObjects): Judgement {
  const name = dottedName(statement.funcname);
  const what = statement.is_procedure ? "procedure" : "function";
  if (statement.replace && !made.has("function", name)) {
    return refused(`the old version may use the ${what} that is replaced`, {
      alternative: `CREATE ${what.toUpperCase()} under another name, that the new version uses`,
    });
  }
  made.add("function", name);
  return additive(`a new ${what}; its name must not be an old one's, or old calls may reach it`);
}

export function judgeCreateTrigger(statement: CreateTrigStmt, made: NewObjects): Judgement {
  const table = relationName(statement.relation);
  made.add("trigger", table);
  if (made.has("table", table)) return additive("a trigger of a new table");
  return refused("a trigger changes what the old version's writes do", {
    locks: [{ mode: "SHARE ROW EXCLUSIVE", on: table }],
    alternative: "let the new version write both places; fill in the old rows in batches",
  });
}

export function judgeCreatePolicy(statement: CreatePolicyStmt, made: NewObjects): Judgement {
  const table = relationName(statement.table);
  if (made.has("table", table)) return additive("a policy of a new table");
  return refused("it changes which rows the old version sees", {
    locks: [{ mode: "ACCESS EXCLUSIVE", on: table }],
    alternative: "a view for the new version",
  });
}

/** CREATE AGGREGATE, COLLATION, TYPE, OPERATOR, TEXT SEARCH …: those that no old query can come to use by itself. */
export function judgeDefine(statement: DefineStmt, made: NewObjects): Judgement {
  const name = dottedName(statement.defnames);
  const kind = statement.kind ?? "";
  if (statement.replace) {
    return refused("the old version may use what is replaced", { alternative: "another name" });
  }
  if (kind === "OBJECT_AGGREGATE") made.add("function", name);
  if (
    ["OBJECT_AGGREGATE", "OBJECT_COLLATION", "OBJECT_TSCONFIGURATION", "OBJECT_TSDICTIONARY"].includes(kind)
  ) {
    return additive("a new object");
  }
  return refused("queries of the old version may come to use it by themselves", {
    alternative: "a function with a name of its own",
  });
}

export function judgeRefresh(statement: RefreshMatViewStmt, made: NewObjects): Judgement {
  const name = relationName(statement.relation);
  if (made.has("relation", name)) return additive("fills a new materialized view");
  return refused("the old version would read other rows", {
    locks: [{ mode: statement.concurrent ? "EXCLUSIVE" : "ACCESS EXCLUSIVE", on: name }],
    alternative: "a new materialized view",
  });
}
