import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { keepReserve, useReserve } from "../../../../src/farm/journal/reserve.ts";
import { TestCatalog } from "../catalog.ts";

const disk = vi.hoisted(() => ({ freeBytes: 0 }));
vi.mock("node:fs", async (original) => ({
  ...(await original<typeof import("node:fs")>()),
  statfsSync: () => ({ bavail: disk.freeBytes, bsize: 1 }),
}));

it("space is kept back on a disk that has some, and given free on a full one only", () => {
  using test = new TestCatalog();
  const reserve = join(test.folder, "catalog.reserve");
  disk.freeBytes = 1 << 20;
  keepReserve(test.journal.path);
  expect(existsSync(reserve)).toBe(false);
  disk.freeBytes = 1 << 30;
  keepReserve(test.journal.path);
  expect(statSync(reserve)).toMatchObject({ size: 1 << 20 });
  expect(statSync(reserve).mode & 0o777).toBe(0o600);
  useReserve(test.journal.path);
  expect(existsSync(reserve)).toBe(true);
  disk.freeBytes = 4096;
  useReserve(test.journal.path);
  expect(existsSync(reserve)).toBe(false);
});

it("a store without a catalog has none", () => {
  expect(() => useReserve("/nowhere/catalog.db")).not.toThrow();
});
