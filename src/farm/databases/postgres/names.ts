import type { Node, RangeVar } from "libpg-query";

/** A relation's name as it was written: `accounts`, `billing.accounts`. */
export function relationName(relation: RangeVar | undefined): string {
  const { catalogname, schemaname, relname } = relation ?? {};
  return [catalogname, schemaname, relname].filter((part) => part !== undefined).join(".");
}

/** A dotted name, of a function, a type or what a DROP names. */
export function dottedName(parts: readonly Node[] | undefined): string {
  return (parts ?? []).map((part) => ("String" in part ? (part.String.sval ?? "") : "?")).join(".");
}
