/** Prints the one JSON document of a `--json` run. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** A column is no wider than this for one cell's sake. */
const WIDEST = 80;

/**
 * Rows as columns; `right` names the columns that hold numbers. The first row is the heading. A cell that is longer than a column may
 * be moves the rest of its own row.
 */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, Math.min(cell.length, WIDEST));
    });
  const isRight = widths.map((_, column) => right.includes(column));
  let text = "";
  for (const row of rows) {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0;
      return isRight[column] ? cell.padStart(width) : cell.padEnd(width);
    });
    text += `${cells.join("  ").trimEnd()}\n`;
  }
  return text;
}
