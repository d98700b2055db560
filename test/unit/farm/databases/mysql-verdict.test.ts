import { describe, expect, it } from "vitest";
import { splitStatements } from "../../../../src/farm/databases/mysql/statements.ts";
import { judgeMysqlMigration } from "../../../../src/farm/databases/mysql/verdict.ts";

async function last(sql: string) {
  return (await judgeMysqlMigration(sql)).statements.at(-1);
}

describe("splitting a MySQL file", () => {
  it("follows quotes, escapes and comments", () => {
    const text = `-- a; b
# c; d
INSERT INTO t VALUES ('a;b', "c\\";d", 'e''f;', \`g;h\`) /* i;j */;
SELECT 1 -- k
+ 2`;
    expect(splitStatements(text)).toEqual([
      { sql: "INSERT INTO t VALUES ('a;b', \"c\\\";d\", 'e''f;', `g;h`)", line: 3 },
      { sql: "SELECT 1  \n+ 2", line: 4 },
    ]);
  });

  it("names what servers and parsers read differently", () => {
    const problems = (text: string) => splitStatements(text).map(({ problem }) => problem);
    expect(problems("/*!50000 DROP TABLE t */")).toEqual([expect.stringContaining("some servers run")]);
    expect(problems("CREATE /*M! OR REPLACE */ TABLE t (a int)")).toEqual([
      expect.stringContaining("some servers run"),
    ]);
    expect(problems("SELECT 1--1; DROP TABLE t")).toEqual([expect.stringContaining("'--'"), undefined]);
    expect(problems("SELECT 'a")).toEqual(["a quote without an end"]);
    expect(problems("SELECT 1 /* a")).toEqual(["a comment without an end"]);
    expect(problems("DELIMITER //\nSELECT 1")).toEqual([expect.stringContaining("DELIMITER")]);
  });
});

describe("a MySQL migration", () => {
  it("is refused where the parser does not read it, and the rest is judged", async () => {
    const { statements } = await judgeMysqlMigration(
      "FROBNICATE t;\nCREATE TABLE a (id int);\nALTER TABLE t FORCE;",
    );
    expect(statements.map(({ verdict, line }) => [verdict, line])).toEqual([
      ["refused", 1],
      ["additive", 2],
      ["refused", 3],
    ]);
  });

  it("never reaches into another database, where no copy would protect it", async () => {
    for (const sql of [
      "CREATE TABLE live.a (id int)",
      "CREATE TABLE a (id int, FOREIGN KEY (id) REFERENCES live.b (id) ON DELETE CASCADE)",
      "CREATE VIEW v AS SELECT * FROM live.a",
      "CREATE TABLE a LIKE live.b",
      "CREATE INDEX i ON live.a (b) ALGORITHM=INPLACE LOCK=NONE",
      "USE live",
    ]) {
      expect([sql, (await last(sql))?.verdict]).toEqual([sql, "refused"]);
    }
  });

  it("wants the words that make the server refuse rather than block", async () => {
    const add = "ALTER TABLE accounts ADD COLUMN a int";
    expect(await last(`${add}, ALGORITHM=INPLACE, LOCK=SHARED`)).toMatchObject({ verdict: "refused" });
    expect(await last(`${add}, ALGORITHM=COPY`)).toMatchObject({ verdict: "refused" });
    expect(await last(`${add}, ALGORITHM=INPLACE, LOCK=NONE`)).toMatchObject({
      verdict: "additive",
      rewrites: true,
    });
    expect(await last(`${add}, ADD INDEX i (a), ALGORITHM=INSTANT`)).toMatchObject({ verdict: "refused" });
    expect(await last(`${add}, DROP COLUMN b, ALGORITHM=INSTANT`)).toMatchObject({ verdict: "refused" });
  });

  it("lets a new table be altered, but not keyed to an old one", async () => {
    expect(await last("CREATE TABLE a (id int); ALTER TABLE a DROP COLUMN id")).toMatchObject({
      verdict: "additive",
    });
    expect(
      await last("CREATE TABLE a (id int); ALTER TABLE a ADD FOREIGN KEY (id) REFERENCES accounts (id)"),
    ).toMatchObject({ verdict: "refused" });
    expect(await last("CREATE TABLE IF NOT EXISTS a (id int); ALTER TABLE a DROP COLUMN id")).toMatchObject({
      verdict: "refused",
    });
  });
});
