import { escapeXml } from "../../xml.ts";
import type { Evidence } from "../journal/entry.ts";
import { OUTSIDE } from "./cells.ts";
import { COMPARE } from "./compare.ts";

/** The matrix as rows of a table: who looks, and what each of them sees; the first row is the heading. */
export function grids(cells: readonly Evidence[]): string[][][] {
  const matrix = cells.filter(({ kind }) => kind !== "check" && kind !== COMPARE);
  const own = cells.filter(({ kind }) => kind === "check");
  const compared = cells.filter(({ kind }) => kind === COMPARE);
  const list = [
    ["COMPARED", "SEEN"],
    ...compared.map((cell) => [cell.to, cell.passed ? cell.message : "DIFFERS"]),
  ];
  return [grid(matrix, "FROM \\ TO"), grid(own, "FROM \\ CHECK"), list].filter((rows) => rows.length > 1);
}

function grid(cells: readonly Evidence[], corner: string): string[][] {
  const rows = [...new Set(cells.map(({ from }) => from))].sort(outsideFirst);
  const seen = new Set(cells.map(({ to }) => to));
  const columns = [...[...seen].filter((to) => !rows.includes(to)), ...rows.filter((from) => seen.has(from))];
  const found = new Map(cells.map((cell) => [`${cell.from} ${cell.to}`, cell]));
  return [
    [corner, ...columns],
    ...rows.map((from) => [from, ...columns.map((to) => shown(found.get(`${from} ${to}`)))]),
  ];
}

function shown(cell: Evidence | undefined): string {
  if (!cell) return "-";
  if (!cell.passed) return "FAIL";
  return cell.latencyMs === null ? "ok" : `ok ${cell.latencyMs} ms`;
}

function outsideFirst(a: string, b: string): number {
  return Number(b === OUTSIDE) - Number(a === OUTSIDE);
}

/** The cells as JUnit's XML, as build servers show it. */
export function junit(farm: string, cells: readonly Evidence[]): string {
  const kinds = [...new Set(cells.map(({ kind }) => kind))];
  const suites = kinds.map((kind) =>
    suite(
      kind,
      cells.filter((cell) => cell.kind === kind),
    ),
  );
  const failures = cells.filter(({ passed }) => !passed).length;
  return `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="${escapeXml(farm)}" tests="${cells.length}" failures="${failures}">
${suites.join("\n")}
</testsuites>
`;
}

function suite(kind: string, cells: readonly Evidence[]): string {
  const failures = cells.filter(({ passed }) => !passed).length;
  const cases = cells.map(({ from, to, passed, message, latencyMs, time }) => {
    const head = `name="${escapeXml(`${from} to ${to}`)}" classname="${escapeXml(kind)}" time="${((latencyMs ?? 0) / 1000).toFixed(4)}" timestamp="${time}"`;
    return passed
      ? `    <testcase ${head}><system-out>${escapeXml(message)}</system-out></testcase>`
      : `    <testcase ${head}><failure message="${escapeXml(message)}"/></testcase>`;
  });
  return `  <testsuite name="${escapeXml(kind)}" tests="${cells.length}" failures="${failures}">\n${cases.join("\n")}\n  </testsuite>`;
}
