/**
 * A `table` holds rows of its own that nothing old shows; a `relation` is a table, a view or a sequence.
 */
type Kind = "table" | "relation" | "type" | "function" | "column" | "trigger";

/**
 * What the statements so far have made: the old version cannot know it, so nothing that is done to it disturbs.
 *
 * Names count as they are written: `t` and `public.t` may be two tables. What was made by IF NOT EXISTS does not count,
 * because it may have been there.
 */
export class NewObjects {
  readonly #names = new Set<string>();

  add(kind: Kind, name: string): void {
    this.#names.add(`${kind} ${name}`);
  }

  has(kind: Kind, name: string): boolean {
    return this.#names.has(`${kind} ${name}`);
  }

  addTable(name: string): void {
    this.add("relation", name);
    this.add("table", name);
  }

  /** Its rows can be seen through an old table from now on. */
  shareTable(name: string): void {
    this.#names.delete(`table ${name}`);
  }

  addColumn(table: string, column: string): void {
    this.add("column", `${table} ${column}`);
  }

  hasColumn(table: string, column: string): boolean {
    return this.has("column", `${table} ${column}`);
  }
}
