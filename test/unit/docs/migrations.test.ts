import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { MYSQL_CASES, POSTGRES_CASES } from "../../../fixtures/migration-cases.ts";
import { judgeMigration, type MigrationEngine } from "../../../src/farm/databases/migration.ts";
import { locksText } from "../../../src/farm/databases/verdict.ts";

/** A row of the table: the statement that is judged is the last one. */
async function row(sql: string, engine: MigrationEngine): Promise<string> {
  const { statements } = await judgeMigration(sql, engine);
  const last = statements.at(-1);
  if (last === undefined) throw new Error(`no statement in ${sql}`);
  const lock = `${locksText(last.locks)}${last.rewrites ? "; rewrites" : ""}`;
  const instead = last.alternative === undefined ? "" : ` *Instead:* ${last.alternative}`;
  return `| \`${sql}\` | ${last.verdict} | ${lock} | ${last.reason}.${instead} |`;
}

describe("docs/migrations.md", () => {
  const text = readFileSync(resolve(import.meta.dirname, "../../../docs/migrations.md"), "utf8");

  for (const [engine, cases] of [
    ["postgres", POSTGRES_CASES],
    ["mysql", MYSQL_CASES],
  ] as const) {
    it(`says of each statement of ${engine} what the code says`, async () => {
      const rows = await Promise.all(cases.map((sql) => row(sql, engine)));
      expect(rows.filter((line) => !text.includes(line))).toEqual([]);
    });
  }
});
