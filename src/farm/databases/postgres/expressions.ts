import type { DeleteStmt, FuncCall, TypeCast } from "libpg-query";
import { dottedName, relationName } from "./names.ts";
import type { NewObjects } from "./new-objects.ts";
import { isKnownType } from "./types.ts";

const words = (text: string) => new Set(text.trim().split(/\s+/));

/** Give one value for a whole statement, so that ADD COLUMN stores it once instead of rewriting the table. */
const STABLE =
  words(`now transaction_timestamp statement_timestamp lower upper concat concat_ws format length char_length
  octet_length substr substring btrim ltrim rtrim trim replace lpad rpad left right md5 sha256 abs ceil ceiling floor round
  trunc greatest least date_trunc date_part extract make_date make_interval to_char to_date to_timestamp to_number timezone
  json_build_object json_build_array jsonb_build_object jsonb_build_array to_json to_jsonb jsonb_typeof int4range
  int8range numrange tsrange tstzrange daterange array_length cardinality string_to_array array_to_string nullif coalesce`);

/** Give another value for each row: ADD COLUMN rewrites the table. */
const VOLATILE =
  words(`random clock_timestamp timeofday gen_random_uuid uuidv4 uuidv7 uuid_generate_v1 uuid_generate_v4
  nextval currval lastval pg_sleep setval txid_current`);

/** Change nothing, so that a query that fills a new table may call them. */
const HARMLESS = new Set([
  ...STABLE,
  ...words(`random clock_timestamp gen_random_uuid uuidv4 uuidv7 uuid_generate_v4 nextval count sum min max avg array_agg
    string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg bool_and bool_or row_number rank dense_rank lag lead
    first_value last_value generate_series unnest jsonb_array_elements jsonb_array_elements_text jsonb_each jsonb_each_text`),
]);

/** Have a value for every argument: an index on them never makes an insert fail. */
const TOTAL = words("lower upper btrim ltrim rtrim trim length char_length octet_length md5 coalesce nullif");
const TOTAL_OPERATORS = words("= <> < > <= >= || -> ->> ~~ ~~* !~~ !~~*");

const CONSTANT_NODES =
  words(`A_Const A_ArrayExpr A_Expr TypeCast TypeName FuncCall SQLValueFunction CoalesceExpr
  MinMaxExpr CollateClause BoolExpr NullTest RowExpr List String Integer Float Boolean`);
const TOTAL_NODES =
  words(`A_Const A_Expr TypeCast TypeName FuncCall CoalesceExpr CollateClause BoolExpr NullTest
  BooleanTest ColumnRef IndexElem List String Integer Float Boolean`);
const CHANGING_NODES = words("InsertStmt UpdateStmt DeleteStmt MergeStmt LockingClause IntoClause");

/** Calls `visit` for every node of a parse tree with its type; a type is a key that starts with a capital. */
function walk(tree: unknown, visit: (type: string, node: unknown) => void): void {
  if (Array.isArray(tree)) for (const item of tree) walk(item, visit);
  else if (typeof tree === "object" && tree !== null) {
    for (const [key, value] of Object.entries(tree)) {
      if (/^[A-Z]/.test(key)) visit(key, value);
      walk(value, visit);
    }
  }
}

function collect(
  tree: unknown,
  find: (type: string, node: unknown) => string | undefined,
): string | undefined {
  let found: string | undefined;
  walk(tree, (type, node) => {
    found ??= find(type, node);
  });
  return found;
}

function calledFunction(node: unknown): string {
  return dottedName((node as FuncCall).funcname).replace(/^pg_catalog\./, "");
}

/** Whether a default is one value for all rows; `rewrites` when it certainly is not. */
export function judgeDefault(
  expression: unknown,
  made: NewObjects,
): { constant: true } | { constant: false; what: string; rewrites: boolean } {
  const volatile = collect(expression, (type, node) =>
    type === "FuncCall" && VOLATILE.has(calledFunction(node)) ? calledFunction(node) : undefined,
  );
  if (volatile !== undefined) {
    return {
      constant: false,
      what: `the default ${volatile}() has another value for each row`,
      rewrites: true,
    };
  }
  const unknown = collect(expression, (type, node) => {
    if (type === "FuncCall" && !STABLE.has(calledFunction(node))) {
      return `the default calls ${calledFunction(node)}(), which may have another value for each row`;
    }
    if (type === "TypeCast" && !isKnownType((node as TypeCast).typeName, made)) {
      return "the default is of a type that is not built in";
    }
    return CONSTANT_NODES.has(type) ? undefined : "the default is no constant";
  });
  return unknown === undefined ? { constant: true } : { constant: false, what: unknown, rewrites: false };
}

/** What a query that is run would change or call without our knowing what it does; undefined when it only reads. */
export function sideEffect(query: unknown): string | undefined {
  return collect(query, (type, node) => {
    if (CHANGING_NODES.has(type)) return "it changes or locks rows";
    if (type === "FuncCall" && !HARMLESS.has(calledFunction(node))) {
      return `it calls ${calledFunction(node)}(), and what that does cannot be seen here`;
    }
    return undefined;
  });
}

/** The tables whose rows a query changes, in a WITH for instance. */
export function changedTables(query: unknown): string[] {
  const tables: string[] = [];
  walk(query, (type, node) => {
    if (/^(Insert|Update|Delete|Merge)Stmt$/.test(type))
      tables.push(relationName((node as DeleteStmt).relation));
  });
  return tables;
}

/** What in an index expression or predicate may fail for a row; undefined when nothing can. */
export function possibleFailure(expression: unknown): string | undefined {
  return collect(expression, (type, node) => {
    if (type === "FuncCall" && !TOTAL.has(calledFunction(node))) return `${calledFunction(node)}()`;
    if (type === "TypeCast" && !("A_Const" in ((node as TypeCast).arg ?? {}))) return "a cast";
    if (type === "A_Expr") {
      const operator = dottedName((node as { name?: never[] }).name);
      return TOTAL_OPERATORS.has(operator) ? undefined : `the operator ${operator}`;
    }
    return TOTAL_NODES.has(type) ? undefined : `an expression (${type})`;
  });
}
