import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Doppel } from "./doppel.ts";

const folder = mkdtempSync(join(tmpdir(), "doppel-migration-"));
const doppel = new Doppel();
const good = join(folder, "good.sql");
const bad = join(folder, "bad.sql");

beforeAll(() => {
  writeFileSync(good, "CREATE TABLE notes (id int);\nALTER TABLE accounts ADD COLUMN nickname text;\n");
  writeFileSync(bad, "CREATE TABLE notes (id int);\n\nCREATE INDEX i ON accounts (email);\n");
});
afterAll(() => {
  rmSync(folder, { recursive: true });
  doppel[Symbol.dispose]();
});

it("prints a verdict on each statement and ends with 0 when all are additive", async () => {
  const { code, stdout } = await doppel.run("farm", "migration", good, "--engine", "postgres");
  expect(code).toBe(0);
  expect(stdout).toContain(`${good}:2: additive: ALTER TABLE accounts ADD COLUMN nickname text\n`);
  expect(stdout).toContain("locks: ACCESS EXCLUSIVE on accounts\n");
  expect(stdout).toMatch(/2 statements, all additive\n$/);
});

it("ends with 3 when one is refused, with the reason, the lock and what to write instead", async () => {
  const { code, stdout } = await doppel.run("farm", "migration", bad, "--engine", "postgres", "--json");
  expect(code).toBe(3);
  expect(JSON.parse(stdout)).toMatchObject({
    engine: "postgres",
    refused: 1,
    statements: [
      { line: 1, verdict: "additive", alternative: null },
      {
        line: 3,
        verdict: "refused",
        reason: "all writers wait until the index is built",
        locks: [{ mode: "SHARE", on: "accounts" }],
        alternative: "CREATE INDEX CONCURRENTLY",
      },
    ],
  });
});

it("says what is wrong with the command line or the file", async () => {
  expect((await doppel.run("farm", "migration", good)).code).toBe(2);
  expect((await doppel.run("farm", "migration", good, "--engine", "oracle")).code).toBe(2);
  const missing = await doppel.run("farm", "migration", join(folder, "none.sql"), "--engine", "mysql");
  expect(missing.code).toBe(1);
  expect(missing.stderr).toContain("ENOENT");
});
