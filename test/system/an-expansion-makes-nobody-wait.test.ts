import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { DatabaseAddress } from "../../src/farm/databases/address.ts";
import { applyMigration, type ExpandEvent, requireSafetyCopy } from "../../src/farm/databases/expand.ts";
import { judgeMigration } from "../../src/farm/databases/migration.ts";
import { type DatabaseServer, SERVERS, type Sql, shop, sqlOf } from "./farm-databases.ts";

const ADD_COLUMN = {
  postgres: "CREATE TABLE notes (id int); ALTER TABLE accounts ADD COLUMN nickname text;",
  mysql:
    "CREATE TABLE notes (id int); ALTER TABLE accounts ADD COLUMN nickname varchar(50), ALGORITHM=INSTANT;",
};
const FEW = { lockTimeoutMs: 200, attempts: 2, backoffMs: 20 };

for (const { engine, start, possible } of SERVERS) {
  describe.runIf(possible)(engine, () => {
    let server: DatabaseServer;
    let address: DatabaseAddress;
    let count = 0;

    beforeAll(async () => {
      server = await start();
    });
    beforeEach(async () => {
      count += 1;
      address = await shop(server, `shop${count}`);
    });
    afterAll(async () => {
      await server?.[Symbol.asyncDispose]();
    });

    /** A session of the old version in a transaction that has read a table. */
    async function longTransaction(): Promise<Sql> {
      const sql = await sqlOf(server, address.database);
      await sql("BEGIN");
      await sql("SELECT * FROM accounts");
      return sql;
    }

    it("gives up with the name of who holds the lock, and goes on later where it was", async () => {
      const migration = await judgeMigration(ADD_COLUMN[engine], engine);
      const old = await longTransaction();
      const steps: string[] = [];
      const onEvent = ({ step }: ExpandEvent) => steps.push(step);
      const failed = await applyMigration(address, migration, { limits: FEW, onEvent }).catch(
        (error) => error,
      );
      expect(failed).toMatchObject({ code: "lock-held", exitCode: 1 });
      expect(failed.message).toMatch(
        /no lock on accounts in 2 attempts, held by (process|connection) \d+ of keeper/,
      );
      expect(failed.message).not.toContain("s3cret");
      expect(steps).toEqual(["begin", "ran", "done", "begin", "waits"]);
      await old("COMMIT");
      await old.end();
      const results = await applyMigration(address, migration, { limits: FEW });
      expect(results.map(({ ran }) => ran)).toEqual([false, true]);
    });

    it("tries again until the lock is free, while others go on", async () => {
      const migration = await judgeMigration(ADD_COLUMN[engine], engine);
      const old = await longTransaction();
      const writer = await sqlOf(server, address.database);
      const limits = { lockTimeoutMs: 200, attempts: 100, backoffMs: 20 };
      let waited = 0;
      const onEvent = ({ step }: ExpandEvent) => {
        if (step !== "waits") return;
        waited += 1;
        if (waited === 2) void old("COMMIT");
      };
      const expanded = applyMigration(address, migration, { limits, onEvent });
      let writing = true;
      const finished = expanded.finally(() => {
        writing = false;
      });
      let writes = 0;
      while (writing) {
        await writer("INSERT INTO accounts (email) VALUES ('busy@example.org')");
        writes += 1;
      }
      const results = await finished;
      expect(results.at(-1)).toMatchObject({ ran: true, attempts: 3 });
      const [row] = await writer("SELECT count(*) AS n FROM accounts WHERE email = 'busy@example.org'");
      expect(Number(row?.n)).toBe(writes);
      await writer.end();
      await old.end();
    });

    it("is refused as a whole for one statement that is not additive, with nothing done", async () => {
      const migration = await judgeMigration("CREATE TABLE notes (id int); DROP TABLE orders", engine);
      await expect(applyMigration(address, migration)).rejects.toMatchObject({
        code: "migration-refused",
        exitCode: 3,
        message: expect.stringContaining("line 1: DROP TABLE orders"),
      });
      const sql = await sqlOf(server, address.database);
      await expect(sql("SELECT * FROM notes")).rejects.toThrow();
      await sql.end();
    });

    it("ends with the server's words when the server refuses a statement", async () => {
      const migration = await judgeMigration(
        "CREATE TABLE notes (id int); CREATE TABLE orders (id int)",
        engine,
      );
      await expect(applyMigration(address, migration)).rejects.toMatchObject({
        code: "database-failed",
        message: expect.stringMatching(/orders.*already exists/),
      });
    });

    it("is refused without a safety copy", async () => {
      await expect(requireSafetyCopy(address, undefined)).rejects.toMatchObject({
        code: "no-safety-copy",
        exitCode: 3,
      });
    });

    it("is for one at a time", async () => {
      const migration = await judgeMigration(ADD_COLUMN[engine], engine);
      const old = await longTransaction();
      const first = applyMigration(address, migration, {
        limits: { lockTimeoutMs: 300, attempts: 3, backoffMs: 300 },
      }).catch((error) => error);
      const second = applyMigration(address, migration, { limits: { attempts: 2, backoffMs: 10 } });
      const outcomes = await Promise.all([first, second.catch((error) => error)]);
      expect(outcomes.map(({ code }) => code).sort()).toEqual(["expansion-running", "lock-held"]);
      await old.end();
    });
  });
}

describe.runIf(SERVERS[0].possible)("a concurrent index of postgres", () => {
  it("that was left invalid is built anew", async () => {
    await using server = await SERVERS[0].start();
    const address = await shop(server, "shop");
    const sql = "CREATE INDEX CONCURRENTLY accounts_email ON accounts (email)";
    const migration = await judgeMigration(sql, "postgres");
    const old = await sqlOf(server, "shop");
    await old("BEGIN");
    await old("UPDATE accounts SET balance = 3");
    await expect(applyMigration(address, migration, { limits: FEW })).rejects.toMatchObject({
      code: "lock-held",
    });
    await old("COMMIT");
    const valid = "SELECT indisvalid AS valid FROM pg_index WHERE indexrelid = 'accounts_email'::regclass";
    expect(await old(valid)).toEqual([{ valid: false }]);
    await applyMigration(address, migration);
    expect(await old(valid)).toEqual([{ valid: true }]);
    await old.end();
  });
});
