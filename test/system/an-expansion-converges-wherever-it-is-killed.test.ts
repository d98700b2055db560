import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf } from "../../src/farm/databases/engines.ts";
import { applyMigration } from "../../src/farm/databases/expand.ts";
import { judgeMigration } from "../../src/farm/databases/migration.ts";
import { packageRoot, runCommand } from "./doppel.ts";
import { type DatabaseServer, databases, SERVERS, shop } from "./farm-databases.ts";

const MIGRATIONS = {
  postgres: `BEGIN;
    CREATE TABLE notes (id bigserial PRIMARY KEY, account_id bigint REFERENCES accounts ON DELETE CASCADE);
    INSERT INTO notes (account_id) VALUES (1), (2);
    ALTER TABLE accounts ADD COLUMN nickname text;
    CREATE INDEX CONCURRENTLY accounts_email ON accounts (lower(email));
    CREATE VIEW poor AS SELECT id FROM accounts WHERE balance < 10;
    COMMIT;`,
  mysql: `CREATE TABLE notes (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, account_id bigint) ENGINE=InnoDB;
    INSERT INTO notes (account_id) VALUES (1), (2);
    ALTER TABLE accounts ADD COLUMN nickname varchar(50), ADD COLUMN level int NOT NULL DEFAULT 1, ALGORITHM=INSTANT;
    CREATE INDEX accounts_email ON accounts (email) ALGORITHM=INPLACE LOCK=NONE;
    CREATE VIEW poor AS SELECT id FROM accounts WHERE balance < 10;`,
};

for (const { engine, start, possible } of SERVERS) {
  describe.runIf(possible)(engine, () => {
    const folder = mkdtempSync(join(tmpdir(), "doppel-expand-"));
    const file = join(folder, "migration.sql");
    let server: DatabaseServer;

    beforeAll(async () => {
      writeFileSync(file, MIGRATIONS[engine]);
      server = await start();
    });
    afterAll(async () => {
      await server?.[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    });

    it("ends at the same schema and the same rows as a run that nobody killed", async () => {
      const migration = await judgeMigration(MIGRATIONS[engine], engine);
      expect(migration.refused).toBe(0);
      const straight = await shop(server, "straight");
      await applyMigration(straight, migration);
      const wanted = await engineOf(straight).contents(straight);

      const address = await shop(server, "killed");
      for (const [index, statement] of migration.statements.entries()) {
        if (statement.run === "skip") continue;
        // After the statement and before its record is where a run can be in doubt.
        const program = [join(packageRoot, "dist/fixtures/expand-and-die.js"), file, String(index), "ran"];
        const { code, stderr } = await runCommand("node", program, { DATABASE_URL: server.url("killed") });
        expect([index, code, stderr]).toEqual([index, -1, ""]);
      }
      const last = await applyMigration(address, migration);
      expect(last.filter(({ ran }) => ran).map(({ line }) => line)).toEqual([
        migration.statements.findLast(({ run }) => run !== "skip")?.line,
      ]);
      expect(await engineOf(address).contents(address)).toEqual(wanted);
      expect((await applyMigration(address, migration)).some(({ ran }) => ran)).toBe(false);
      expect(await databases(server, "killed")).toEqual(["killed"]);
    });
  });
}
