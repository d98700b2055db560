/** What was written to a table, in rows, since its counters began. */
export interface RowCounters {
  inserted: number;
  updated: number;
  deleted: number;
}

/** What a database counts of its writes, at a moment of its own clock. */
export interface Activity {
  /** The database's time, ISO 8601. */
  at: string;
  /** `counters` see every write; `counts` only how many rows a table has, so updates are not seen. */
  source: "counters" | "counts";
  tables: Readonly<Record<string, RowCounters>>;
}

/** Rows written between two moments. */
export interface Writes {
  since: string;
  minutes: number;
  tables: readonly ({ table: string } & RowCounters)[];
  rows: number;
  /** False when the server does not count writes, or began to count anew: there may be more. */
  complete: boolean;
}

/** What was written from one moment to the other; both are by the database's clock. */
export function writesBetween(before: Activity, after: Activity): Writes {
  const names = [...new Set([...Object.keys(before.tables), ...Object.keys(after.tables)])].sort();
  const none: RowCounters = { inserted: 0, updated: 0, deleted: 0 };
  let complete = before.source === "counters" && after.source === "counters";
  const tables = names.flatMap((table) => {
    const from = before.tables[table] ?? none;
    const to = after.tables[table] ?? none;
    const difference = {
      inserted: to.inserted - from.inserted,
      updated: to.updated - from.updated,
      deleted: to.deleted - from.deleted,
    };
    if (Object.values(difference).some((rows) => rows < 0)) {
      complete = false;
      return after.source === "counters"
        ? [{ table, ...to }]
        : [{ table, inserted: 0, updated: 0, deleted: -difference.inserted }];
    }
    return Object.values(difference).some((rows) => rows > 0) ? [{ table, ...difference }] : [];
  });
  const rows = tables.reduce((sum, { inserted, updated, deleted }) => sum + inserted + updated + deleted, 0);
  const minutes = Math.max(0, (Date.parse(after.at) - Date.parse(before.at)) / 60_000);
  return { since: before.at, minutes, tables, rows, complete };
}
