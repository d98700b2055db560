import { expect, it } from "vitest";
import { parseDatabaseUrl } from "../../../../src/farm/databases/address.ts";
import { besideName, compareContents } from "../../../../src/farm/databases/safety-copy.ts";

const address = parseDatabaseUrl("postgres://app@db/shop");
const dumped = { rows: { a: 3, b: 0 }, schema: "CREATE TABLE a;\nCREATE TABLE b;" };

it("a restore that has what was dumped passes", () => {
  compareContents(address, dumped, { ...dumped });
  compareContents(address, { ...dumped, rows: { a: Number.NaN, b: 0 } }, dumped);
});

it("a restore with other rows, other tables or another schema is told with the first difference", () => {
  const differ = (restored: typeof dumped, what: string) =>
    expect(() => compareContents(address, dumped, restored)).toThrow(
      expect.objectContaining({ code: "copy-differs", exitCode: 4, message: expect.stringContaining(what) }),
    );
  differ({ ...dumped, rows: { a: 2, b: 0 } }, "table a has 2 rows, 3 were dumped");
  differ({ ...dumped, rows: { a: 3 } as never }, "table b has no rows, 0 were dumped");
  differ({ ...dumped, rows: { ...dumped.rows, c: 1 } as never }, "table c has 1 rows, none were dumped");
  differ({ ...dumped, schema: "CREATE TABLE a;" }, "the schema differs: CREATE TABLE b;");
});

it("a name beside a database's is short enough for both engines", () => {
  expect(besideName("shop", "kept")).toMatch(/^shop_kept_[0-9a-f]{6}$/);
  expect(besideName("x".repeat(63), "rehearsal")).toHaveLength(63);
});
