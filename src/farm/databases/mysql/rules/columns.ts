import { additive, type Judgement, refused, together } from "../../verdict.ts";
import { field, list, objectName, variant } from "../syntax.ts";

const CONSTANT_FUNCTIONS = new Set(["current_timestamp", "now", "localtimestamp", "utc_timestamp"]);
const LATER = "a nullable column that the new version fills";

/** Options of a column that change nothing for who does not name it. */
const HARMLESS = new Set(["Null", "Comment", "CharacterSet", "Collation", "Invisible", "OnUpdate"]);

const REFUSALS: Readonly<Record<string, Judgement>> = {
  PrimaryKey: refused("the table is copied for its new key", { rewrites: true, alternative: "a new table" }),
  Unique: refused("the old version's writes would be checked too", { alternative: "after the switch" }),
  ForeignKey: refused("the old version could no longer delete a row that a new row refers to", {
    alternative: "the column alone; add the key after the switch",
  }),
  Check: refused("every row is read to check it", {
    alternative: "check it in the new version; add it after the switch",
  }),
  Generated: refused("its value is computed for each row, by the old version's writes or reads too", {
    rewrites: true,
    alternative: LATER,
  }),
  AUTO_INCREMENT: refused("it has another value for each row: the table is copied", {
    rewrites: true,
    alternative: LATER,
  }),
};

/** A column of ADD COLUMN on a table that the old version uses. */
export function judgeColumn(column: unknown): Judgement {
  const options = list(field(column, "options")).map((option) => variant(field(option, "option")));
  const value = options.find(({ name }) => name === "Default")?.value;
  const clauses = options
    .filter(({ name }) => !HARMLESS.has(name) && name !== "NotNull")
    .map((option) => judgeOption(option));
  if (options.some(({ name }) => name === "NotNull") && (value === undefined || isNull(value))) {
    clauses.push(
      refused("the old version's inserts do not name the column and would fail: NOT NULL without a default", {
        alternative: "give it a constant DEFAULT, or leave it nullable until the old version is gone",
      }),
    );
  }
  if (variant(field(column, "data_type")).name === "Custom") {
    clauses.push(
      refused("a type that the parser does not know, or SERIAL", {
        alternative: "a type of the server's own",
      }),
    );
  }
  if (clauses.some(({ verdict }) => verdict === "refused")) return together(clauses);
  return additive("no row is written; an INSERT of the old version that names no columns would fail");
}

function judgeOption({ name, value }: { name: string; value: unknown }): Judgement {
  if (name === "Default") {
    if (isConstant(value)) return additive("a constant default");
    return refused("the default may have another value for each row: the table is copied", {
      rewrites: true,
      alternative: LATER,
    });
  }
  const word = String(field(field(list(value)[0], "Word"), "keyword") ?? "");
  return (
    REFUSALS[name === "DialectSpecific" ? word : name] ??
    refused(`an option that is not known to be additive (${word || name})`, { alternative: LATER })
  );
}

function isConstant(value: unknown): boolean {
  const { name, value: inner } = variant(value);
  if (name === "Value") return true;
  if (name === "UnaryOp") return isConstant(field(inner, "expr"));
  return name === "Function" && CONSTANT_FUNCTIONS.has(objectName(field(inner, "name")).toLowerCase());
}

function isNull(value: unknown): boolean {
  return field(field(value, "Value"), "value") === "Null";
}
