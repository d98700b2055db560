import { describe, expect, it } from "vitest";
import { judgePostgresMigration } from "../../../../src/farm/databases/postgres/verdict.ts";

async function verdicts(sql: string): Promise<string[]> {
  return (await judgePostgresMigration(sql)).statements.map(({ verdict }) => verdict);
}

describe("a PostgreSQL migration", () => {
  it("is read as PostgreSQL reads it: comments, dollar quotes, semicolons in strings", async () => {
    const sql = `-- DROP TABLE accounts;
      /* a ; /* nested */ b */ CREATE TABLE a (t text DEFAULT '; DROP TABLE accounts; --');
      CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $body$ SELECT 1; SELECT 2; $body$;;
      DROP/**/TABLE
      accounts`;
    const { statements } = await judgePostgresMigration(sql);
    expect(statements.map(({ verdict, line }) => [verdict, line])).toEqual([
      ["additive", 2],
      ["additive", 3],
      ["refused", 4],
    ]);
  });

  it("has one verdict, refused, with the line, when the parser does not read it", async () => {
    const { statements, refused } = await judgePostgresMigration(
      "CREATE TABLE é (a int);\n\\connect other\n",
    );
    expect(refused).toBe(1);
    expect(statements).toMatchObject([{ verdict: "refused", line: 2, statement: "\\connect other" }]);
  });

  it("counts lines in bytes and characters alike", async () => {
    const { statements } = await judgePostgresMigration("-- é é é\n\nCREATE TABLE ü (a int);\nDROP TABLE ü;");
    expect(statements.map(({ line, statement }) => [line, statement])).toEqual([
      [3, "CREATE TABLE ü (a int)"],
      [4, "DROP TABLE ü"],
    ]);
  });

  it("does not take an old table for a new one", async () => {
    for (const sql of [
      "CREATE TABLE IF NOT EXISTS a (id int); ALTER TABLE a DROP COLUMN id",
      "CREATE TABLE other.a (id int); ALTER TABLE a DROP COLUMN id",
      'CREATE TABLE "A" (id int); ALTER TABLE a DROP COLUMN id',
      "CREATE VIEW v AS SELECT * FROM accounts; DELETE FROM v",
      "CREATE TABLE p (id int); ALTER TABLE events ATTACH PARTITION p DEFAULT; DELETE FROM p",
      "CREATE TABLE a (id int); TRUNCATE a CASCADE",
      "CREATE TABLE a (id int); CREATE TRIGGER t AFTER INSERT ON a EXECUTE FUNCTION f(); INSERT INTO a VALUES (1)",
    ]) {
      expect([sql, (await verdicts(sql)).at(-1)]).toEqual([sql, "refused"]);
    }
  });

  it("refuses the whole statement for one clause of it", async () => {
    const [statement] = (
      await judgePostgresMigration(
        "ALTER TABLE accounts ADD COLUMN a int, DROP COLUMN b, ADD COLUMN c serial",
      )
    ).statements;
    expect(statement).toMatchObject({ verdict: "refused", rewrites: true, makes: [] });
    expect(statement?.reason).toContain("the old version reads and writes the column");
    expect(statement?.reason).toContain("a serial column has another value for each row");
  });

  it("refuses what runs code that cannot be seen", async () => {
    for (const sql of [
      "CREATE TABLE a AS SELECT wipe(id) FROM accounts",
      "CREATE TABLE a AS SELECT public.count(id) FROM accounts",
      "CREATE TABLE a AS WITH gone AS (DELETE FROM accounts RETURNING id) SELECT id FROM gone",
      "CREATE TABLE a (id int); INSERT INTO a SELECT id FROM accounts FOR UPDATE",
      "CREATE TABLE a (id int); INSERT INTO a SELECT dblink_exec('', '')",
      "ALTER TABLE accounts ADD COLUMN a int DEFAULT f()",
      "SELECT id INTO a FROM accounts",
      "EXPLAIN ANALYZE DELETE FROM accounts",
      "CREATE SCHEMA s CREATE VIEW rich AS SELECT 1",
    ]) {
      expect([sql, (await verdicts(sql)).at(-1)]).toEqual([sql, "refused"]);
    }
  });

  it("names the lock that is taken on a referenced table", async () => {
    const [statement] = (
      await judgePostgresMigration(
        "CREATE TABLE a (b int REFERENCES s.b ON DELETE SET NULL, c int REFERENCES a)",
      )
    ).statements;
    expect(statement?.locks).toEqual([{ mode: "SHARE ROW EXCLUSIVE", on: "s.b" }]);
  });

  it("has no verdicts when it is empty", async () => {
    expect(await judgePostgresMigration("-- nothing\n;")).toEqual({
      engine: "postgres",
      statements: [],
      refused: 0,
    });
  });
});
