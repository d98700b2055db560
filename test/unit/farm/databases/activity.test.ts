import { expect, it } from "vitest";
import { type Activity, writesBetween } from "../../../../src/farm/databases/activity.ts";

function activity(at: string, tables: Record<string, [number, number, number]>): Activity {
  const entries = Object.entries(tables).map(([table, [inserted, updated, deleted]]) => [
    table,
    { inserted, updated, deleted },
  ]);
  return { at, source: "counters", tables: Object.fromEntries(entries) };
}

it("writes are told by table, with the minutes between two moments of the database's clock", () => {
  const before = activity("2026-01-01T12:00:00Z", { a: [10, 5, 1], b: [3, 0, 0] });
  const after = activity("2026-01-01T12:38:00Z", { a: [12, 5, 2], b: [3, 0, 0], c: [7, 0, 0] });
  expect(writesBetween(before, after)).toEqual({
    since: "2026-01-01T12:00:00Z",
    minutes: 38,
    tables: [
      { table: "a", inserted: 2, updated: 0, deleted: 1 },
      { table: "c", inserted: 7, updated: 0, deleted: 0 },
    ],
    rows: 10,
    complete: true,
  });
});

it("counters that began anew are told as what is known at least", () => {
  const before = activity("2026-01-01T12:00:00Z", { a: [10, 5, 1] });
  const after = activity("2026-01-01T12:01:00Z", { a: [4, 0, 0] });
  expect(writesBetween(before, after)).toMatchObject({ rows: 4, complete: false });
});

it("numbers of rows alone tell what is more or less, and that there may be other writes", () => {
  const counts = (rows: number): Activity => ({
    ...activity("2026-01-01T12:00:00Z", { a: [rows, 0, 0] }),
    source: "counts",
  });
  expect(writesBetween(counts(10), counts(7))).toMatchObject({
    tables: [{ table: "a", inserted: 0, updated: 0, deleted: 3 }],
    complete: false,
  });
  expect(writesBetween(counts(10), counts(10))).toMatchObject({ rows: 0, complete: false });
});
