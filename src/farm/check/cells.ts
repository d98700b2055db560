import type { FarmCheck } from "../file/checks.ts";
import type { FarmSpec } from "../file/schema.ts";

export const OUTSIDE = "outside";

export type CellKind = "database" | "machine" | "outside" | "check";

/** One place of the matrix: what is looked at, and from where. */
export interface Cell {
  /** Names it for good: `database/web1/orders`. */
  id: string;
  kind: CellKind;
  from: string;
  to: string;
}

/** Every cell that the farm must have; what has no result in the end has failed. */
export function expectedCells(spec: FarmSpec): Cell[] {
  const boxes = spec.boxes.map(({ name }) => name);
  return [
    ...boxes.flatMap((from) => spec.databases.map(({ name }) => cell("database", from, name))),
    ...boxes.flatMap((from) => boxes.filter((to) => to !== from).map((to) => cell("machine", from, to))),
    ...boxes.map((to) => cell("outside", OUTSIDE, to)),
    ...spec.checks.flatMap((check) => vantages(check, boxes).map((from) => cell("check", from, check.name))),
  ];
}

/** From where a check of the file looks: from outside once, or from every box that it names. */
function vantages(check: FarmCheck, boxes: readonly string[]): readonly string[] {
  const outside =
    check.kind === "tls" ||
    (check.kind === "http" && check.via === "site") ||
    (check.kind === "tcp" && check.from === "outside" && check.host !== undefined);
  return outside ? [OUTSIDE] : (check.boxes ?? boxes);
}

function cell(kind: CellKind, from: string, to: string): Cell {
  return { id: `${kind}/${from}/${to}`, kind, from, to };
}
