import { init, parse } from "@guanmingchiu/sqlparser-ts";

/** A node of the parser's tree: variants are objects with one key, the variant's name. */
export type Tree = { readonly [key: string]: unknown };

/** Loads the parser; to be awaited once before `parseStatement`. */
export const loadParser: () => Promise<void> = init;

/** Parses one statement; throws the parser's error. Returns the variant's name and its fields. */
export function parseStatement(sql: string): { type: string; fields: Tree } {
  const statements = plain(parse(sql, "mysql")) as unknown[];
  const [statement] = statements;
  if (statements.length !== 1 || !isTree(statement)) throw new Error("it is not one statement");
  const [type, fields] = Object.entries(statement)[0] ?? [];
  return { type: type ?? "", fields: isTree(fields) ? fields : { value: fields } };
}

/** The variant of a node and its value: `{ AddColumn: {…} }` or the plain word `NotNull`. */
export function variant(node: unknown): { name: string; value: unknown } {
  if (typeof node === "string") return { name: node, value: undefined };
  const [name, value] = isTree(node) ? (Object.entries(node)[0] ?? []) : [];
  return { name: name ?? "", value };
}

export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function field(node: unknown, key: string): unknown {
  return isTree(node) ? node[key] : undefined;
}

/** A name of one or more parts as `a` or `a.b`. */
export function objectName(name: unknown): string {
  return list(name)
    .map((part) => String(field(field(part, "Identifier") ?? part, "value") ?? "?"))
    .join(".");
}

/** The first name with a database in front of it: it would reach past the copy that the migration is tried on. */
export function qualifiedName(tree: unknown): string | undefined {
  if (Array.isArray(tree)) {
    const isName = tree.length > 1 && tree.every((part) => field(part, "Identifier") !== undefined);
    return isName ? objectName(tree) : firstOf(tree, qualifiedName);
  }
  return isTree(tree) ? firstOf(Object.values(tree), qualifiedName) : undefined;
}

/** Whether a node of that variant is anywhere in the tree. */
export function contains(tree: unknown, name: string): boolean {
  if (Array.isArray(tree)) return tree.some((item) => contains(item, name));
  return isTree(tree) && (name in tree || Object.values(tree).some((value) => contains(value, name)));
}

/** The names of all functions that are called in the tree. */
export function calledFunctions(tree: unknown): string[] {
  if (Array.isArray(tree)) return tree.flatMap(calledFunctions);
  if (!isTree(tree)) return [];
  return Object.entries(tree).flatMap(([key, value]) => [
    ...(key === "Function" ? [objectName(field(value, "name")).toLowerCase()] : []),
    ...calledFunctions(value),
  ]);
}

function firstOf<T>(items: readonly unknown[], find: (item: unknown) => T | undefined): T | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The parser hands over maps, and places in the text, which nobody here reads. */
function plain(value: unknown): unknown {
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(plain);
  if (!isTree(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== "span")
      .map(([key, item]) => [key, plain(item)]),
  );
}
