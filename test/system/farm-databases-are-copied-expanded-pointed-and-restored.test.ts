import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MariadbServer, PostgresServer } from "../../fixtures/databases.ts";
import { BEFORE_SWITCH } from "../../src/farm/routers/index.ts";
import { must, packageRoot, possible } from "./doppel.ts";
import { databases, shop, sqlOf } from "./farm-databases.ts";
import { FarmLab, sshSettings, startSite } from "./farm-lab.ts";

const ROUTER = join(packageRoot, "fixtures/farm/router-command.js");

interface Steps {
  steps: { step: string; state: string; result: Record<string, unknown> }[];
}

const ADDITIVE = {
  orders:
    "CREATE TABLE notes (id bigserial PRIMARY KEY, body text);\nALTER TABLE accounts ADD COLUMN nickname text;\n",
  stock: "ALTER TABLE accounts ADD COLUMN nickname varchar(50), ALGORITHM=INSTANT;\n",
};

describe.skipIf(!possible || !PostgresServer.available() || !MariadbServer.available())(
  "the databases of a farm",
  () => {
    let lab: FarmLab;
    let postgres: PostgresServer;
    let mariadb: MariadbServer;
    let site: Server;

    beforeAll(async () => {
      [lab, postgres, mariadb, site] = await Promise.all([
        FarmLab.start("web1", "web2"),
        PostgresServer.start(),
        MariadbServer.start(),
        startSite(() => ["web1", "web2"]),
      ]);
      await shop(postgres, "orders");
      await shop(mariadb, "stock");
      lab.write("orders-url", `${postgres.url("orders")}\n`);
      lab.write("stock-url", `${mariadb.url("stock")}\n`);
      lab.write("orders.sql", ADDITIVE.orders);
      lab.write("stock.sql", ADDITIVE.stock);
      for (const box of ["web1", "web2"])
        for (const name of ["orders", "stock"]) writeFileSync(pointerOf(box, name), "copy\n");
      writeFileSync(routerState(), JSON.stringify({ routing: BEFORE_SWITCH }));
      describeFarm();
    });

    afterAll(async () => {
      site?.close();
      await postgres?.[Symbol.asyncDispose]();
      await mariadb?.[Symbol.asyncDispose]();
      await lab?.[Symbol.asyncDispose]();
    });

    const routerState = () => join(lab.folder, "router.json");
    /** What a shadow's application uses; all shadows are this machine and differ by their sshd's port. */
    const pointerOf = (box: string, name: string) => join(lab.folder, `${name}-${lab.box(box).sshd.port}`);
    const pointed = (name: string) =>
      ["web1", "web2"].map((box) => readFileSync(pointerOf(box, name), "utf8").trim());

    const database = (engine: string, name: string, more: Record<string, unknown>) => {
      const pointer = `${lab.folder}/${name}-$(echo $SSH_CONNECTION | cut -d" " -f4)`;
      return {
        engine,
        name,
        url: { file: `${name}-url` },
        migrations: [`${name}.sql`],
        lockTimeout: "300ms",
        point: {
          live: ["sh", "-c", `echo live > ${pointer}`],
          copy: ["sh", "-c", `echo copy > ${pointer}`],
          probe: ["sh", "-c", `cat ${pointer}`],
        },
        ...more,
      };
    };

    function describeFarm(): void {
      const connect = `127.0.0.1:${(site.address() as AddressInfo).port}`;
      const oldSuite = `test ! -e old-fails && echo "$DOPPEL_DATABASE_URL" | grep -q /orders_doppel_copy`;
      lab.describe({
        sites: {
          live: { url: "http://shop.test", connect },
          shadow: {
            url: "http://next.shop.test",
            connect,
            identify: { header: "X-Box" },
          },
        },
        routers: [{ kind: "command", name: "edge", command: [process.execPath, ROUTER, routerState()] }],
        switch: { watch: "0s", drain: "1s" },
        boxes: lab.boxes.map(({ name, sshd }) => ({
          kind: "existing",
          name,
          shadow: { address: "127.0.0.1", port: sshd.port, ssh: sshSettings(sshd) },
        })),
        databases: [
          database("postgres", "orders", {
            oldVersionChecks: [
              { kind: "sql", name: "accounts", query: "SELECT count(*) FROM accounts", equals: "200" },
              { kind: "command", name: "suite", run: ["sh", "-c", oldSuite] },
            ],
          }),
          database("mariadb", "stock", {}),
        ],
        checks: [{ kind: "command", name: "app", run: ["test", "!", "-e", join(lab.folder, "app-fails")] }],
      });
    }

    const flow = async (command: string, ...words: string[]) =>
      (await lab.doppel.json("farm", "databases", command, lab.file, ...words)) as unknown as Steps;
    const run = (command: string, ...words: string[]) =>
      lab.doppel.run("farm", "databases", command, lab.file, ...words);
    const rows = async (server: PostgresServer | MariadbServer, name: string) => {
      const sql = await sqlOf(server, name);
      const counted = await sql("SELECT count(*) AS n FROM accounts");
      await sql.end();
      return Number(counted[0]?.n);
    };
    const write = async (server: PostgresServer | MariadbServer, name: string, count: number) => {
      const sql = await sqlOf(server, name);
      for (let row = 0; row < count; row += 1) await sql("INSERT INTO accounts (email) VALUES ('late')");
      await sql.end();
    };
    const has = async (server: PostgresServer | MariadbServer, name: string, column: string) => {
      const sql = await sqlOf(server, name);
      const seen = await sql(`SELECT ${column} FROM accounts`).then(
        () => true,
        () => false,
      );
      await sql.end();
      return seen;
    };

    it("are not expanded without a safety copy (exit 3), nor when a statement is not additive", async () => {
      const refused = await run("expand", "orders");
      expect(refused.code).toBe(3);
      expect(refused.stderr).toMatch(/safety copy of orders.*there is none: run 'doppel farm databases copy/);
      lab.write("orders.sql", "CREATE TABLE notes (id int);\nALTER TABLE accounts DROP COLUMN email;\n");
      const shown = await run("expand", "orders", "--dry-run");
      expect(shown.stdout).toMatch(/orders\.sql:1 +additive +CREATE TABLE notes/);
      expect(shown.stdout).toMatch(
        /orders\.sql:2 +refused +ALTER TABLE accounts DROP COLUMN.* ACCESS EXCLUSIVE/,
      );
      expect(await run("expand", "orders")).toMatchObject({
        code: 3,
        stderr: expect.stringMatching(
          /the migrations of orders are additive: orders\.sql:2: ALTER TABLE accounts DROP/,
        ),
      });
      lab.write("orders.sql", ADDITIVE.orders);
      expect(await databases(postgres, "orders")).toEqual(["orders"]);
    });

    it("are copied after a kill in the middle of a copy, and nothing half-made is left", async () => {
      const locker = await sqlOf(postgres, "orders");
      await locker("BEGIN");
      await locker("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE");
      const { child, ended } = lab.doppel.start("farm", "databases", "copy", lab.file, "orders");
      const waiting = async () =>
        (await locker("SELECT 1 FROM pg_locks WHERE relation = 'accounts'::regclass AND NOT granted")).length;
      await expect.poll(waiting, { timeout: 60_000, interval: 50 }).toBeGreaterThan(0);
      child.kill("SIGKILL");
      await ended;
      await locker("ROLLBACK");
      await locker.end();
      expect(await lab.json("resume")).toMatchObject({ flow: "databases copy" });
      const { steps } = await flow("copy");
      const safety = steps.find(({ step }) => step === "database/stock/safety-copy")?.result;
      const file = String(safety?.file);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      expect((await must("sha256sum", file)).split(" ")[0]).toBe(safety?.sha256);
      expect(safety).toMatchObject({ rehearsal: { tables: 2, rows: 3 } });
      expect((await databases(postgres, "orders")).sort()).toEqual(["orders", "orders_doppel_copy"]);
      expect((await databases(mariadb, "stock")).sort()).toEqual(["stock", "stock_doppel_copy"]);
      const again = await run("copy");
      expect(again.stderr).not.toContain("started:");
      const audit = join(lab.folder, "audit.md");
      await lab.run("status", "--audit", audit);
      expect(readFileSync(audit, "utf8")).toMatch(
        /done: make a safety copy of orders and rehearse its restore/,
      );
      expect(readFileSync(audit, "utf8")).not.toContain("s3cret");
    });

    it("keep what others have made where a test copy would go", async () => {
      await flow("copy", "--undo");
      expect(await databases(mariadb, "stock")).toEqual(["stock"]);
      await mariadb.create("stock_doppel_copy", "CREATE TABLE precious (id int)");
      for (const words of [[], ["--undo"]])
        expect(await run("copy", "stock", ...words)).toMatchObject({
          code: 3,
          stderr: expect.stringContaining("copy-exists"),
        });
      const sql = await sqlOf(mariadb, "stock_doppel_copy");
      expect(await sql("SELECT * FROM precious")).toEqual([]);
      await sql("DROP DATABASE stock_doppel_copy");
      await sql.end();
      await flow("copy");
    });

    it("stay as they are while the old version fails on the expanded copy (exit 3), and are expanded when it does not", async () => {
      lab.write("old-fails", "");
      const failed = await run("expand", "orders");
      expect(failed.code).toBe(3);
      expect(failed.stderr).toMatch(
        /the old version cannot live with .*orders: suite: .*\[old-version-fails\]/,
      );
      expect(await has(postgres, "orders_doppel_copy", "nickname")).toBe(true);
      expect(await has(postgres, "orders", "nickname")).toBe(false);
      rmSync(join(lab.folder, "old-fails"));
      const { steps } = await flow("expand", "orders");
      expect(steps.map(({ step }) => step)).toEqual([
        ...["database/orders/expand-copy", "database/orders/old-version", "database/orders/expand"],
      ]);
      expect(await has(postgres, "orders", "nickname")).toBe(true);
      expect((await run("expand", "orders")).stderr).not.toContain("started:");
    });

    it("are expanded after a kill while a statement waits, past whoever held the lock", async () => {
      const old = await sqlOf(mariadb, "stock");
      await old("BEGIN");
      await old("SELECT * FROM accounts");
      const { child, ended } = lab.doppel.start("farm", "databases", "expand", lab.file, "stock");
      let told = "";
      child.stderr?.on("data", (chunk: Buffer | string) => {
        told += String(chunk);
      });
      await expect.poll(() => told, { timeout: 60_000, interval: 50 }).toMatch(/waits for its lock/);
      child.kill("SIGKILL");
      await ended;
      await old("COMMIT");
      await old.end();
      expect(await lab.json("resume")).toMatchObject({ flow: "databases expand" });
      expect(await has(mariadb, "stock", "nickname")).toBe(true);
    });

    it("are pointed to one shadow after the other, and back where a check fails (exit 4)", async () => {
      expect((await run("point", "orders", "--to", "live", "--shadow", "web1")).code).toBe(0);
      expect(pointed("orders")).toEqual(["live", "copy"]);
      lab.write("app-fails", "");
      const failed = await run("point", "orders", "--to", "live");
      expect(failed.code).toBe(4);
      expect(failed.stderr).toMatch(
        /web2 on the live orders does not pass .* uses the test copy .*check\/web2\/app/,
      );
      expect(pointed("orders")).toEqual(["live", "copy"]);
      rmSync(join(lab.folder, "app-fails"));
      expect(await lab.json("resume")).toMatchObject({ flow: "databases point" });
      await flow("point", "stock", "--to", "live");
      expect([...pointed("orders"), ...pointed("stock")]).toEqual(Array(4).fill("live"));
      expect(existsSync(join(lab.doppel.home, "farms", lab.name, "orders"))).toBe(true);
    });

    it("keep a switch back (exit 3) while they are not what the migration files say now", async () => {
      expect((await lab.run("check")).code).toBe(0);
      lab.write("orders.sql", `${ADDITIVE.orders}CREATE TABLE more (id int);\n`);
      const refused = await lab.run("switch");
      expect(refused.code).toBe(3);
      expect(refused.stderr).toMatch(
        /^doppel: the live orders is expanded by the migrations as they are now: /m,
      );
      lab.write("orders.sql", ADDITIVE.orders);
      expect((await lab.run("switch", "--dry-run")).stdout).not.toContain("CLOSED");
    });

    it("keep what was written since the switch when users are led back, which is said beside what a restore loses", async () => {
      await lab.json("switch");
      await write(postgres, "orders", 3);
      await write(mariadb, "stock", 2);
      const { losses } = await lab.json("rollback");
      expect(losses).toMatchObject([
        { database: "orders", sinceSwitch: { rows: 3, complete: true }, sinceCopy: { rows: 3 } },
        { database: "stock", sinceSwitch: { rows: 2, complete: false } },
      ]);
      expect([await rows(postgres, "orders"), await rows(mariadb, "stock")]).toEqual([203, 5]);
      const asked = await lab.run("rollback", "--restore-databases");
      expect(asked.code).toBe(3);
      expect(asked.stderr).toMatch(
        /orders: safe because additive: 3 rows written since the switch remain .*\norders: a restore loses \d+ minutes?: 3 rows/,
      );
      expect(asked.stderr).toMatch(/^orders: its sessions end in that moment; /m);
      expect(asked.stderr).not.toMatch(/^stock: its sessions/m);
      expect(asked.stderr).toContain("[not-confirmed]");
      expect(await rows(postgres, "orders")).toBe(203);
    });

    it("are restored when that is confirmed, one or all, and that can be taken back", async () => {
      const dry = await lab.doppel.json("farm", "databases", "restore", lab.file, "orders", "--dry-run");
      expect(dry).toMatchObject({ losses: [{ sinceCopy: { rows: 3 } }] });
      expect(await rows(postgres, "orders")).toBe(203);
      for (const [server, name, before, after] of [
        [postgres, "orders", 203, 200],
        [mariadb, "stock", 5, 3],
      ] as const) {
        await flow("restore", name, "--yes");
        expect([await rows(server, name), await has(server, name, "nickname")]).toEqual([after, false]);
        await flow("restore", name, "--undo", "--yes");
        expect([await rows(server, name), await has(server, name, "nickname")]).toEqual([before, true]);
      }
      const { steps } = (await lab.json("rollback", "--restore-databases", "--yes")) as unknown as Steps;
      expect(steps).toContainEqual(
        expect.objectContaining({ step: "database/stock/restore", state: "done" }),
      );
      expect([await rows(postgres, "orders"), await rows(mariadb, "stock")]).toEqual([200, 3]);
      expect(await run("expand", "orders")).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("is a copy of another database"),
      });
    });

    it("of a name that the file does not have are refused with what was perhaps meant", async () => {
      expect(await run("point", "order", "--to", "live")).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(
          /has no database order \[farm-database-unknown\] - did you mean orders\?/,
        ),
      });
    });
  },
);
