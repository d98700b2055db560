import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { ShopFarm } from "../shop-farm.ts";
import type { ShopDatabase } from "../shop-farm-file.ts";
import { killedAt } from "./killed.ts";

/** Ends with databases that are copied and expanded. */
export function faultsOfExpansion(farmOf: () => ShopFarm): void {
  const columns = async (database: ShopDatabase, table: string, column: string) => {
    // MariaDB's catalog has the test copy in it, too.
    const where = `table_schema IN ('public', '${database}') AND table_name = '${table}' AND column_name = '${column}'`;
    const { n } = await farmOf().ask(
      database,
      `SELECT count(*) AS n FROM information_schema.columns WHERE ${where}`,
    );
    return Number(n);
  };

  it("has its databases copied once there is room for the copies; what did not fit is not kept by halves", async () => {
    const farm = farmOf();
    const { copies } = farm.disks;
    copies.fill();
    expect(await farm.run("databases copy")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^doppel: no space left in \S+\/copies .*\[ENOSPC\]/m),
    });
    expect(copies.files).toEqual([]);
    copies.free();
    await farm.json("resume");
    expect(copies.files).toHaveLength(3);
  });

  it("refuses a migration that is not additive (exit 3): the databases stay as they are", async () => {
    const farm = farmOf();
    const additive = readFileSync(join(farm.folder, "orders.sql"), "utf8");
    farm.write("orders.sql", `${additive}ALTER TABLE orders DROP COLUMN placed;\n`);
    expect(await farm.run("databases expand", "orders")).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/orders\.sql:3: ALTER TABLE orders DROP COLUMN.* \[gate-closed\]/),
    });
    farm.write("orders.sql", additive);
    expect(await columns("orders", "orders", "channel")).toBe(0);
  });

  it("lets nobody wait for a lock that another one holds, tells who that is, and is expanded once it is gone", async () => {
    const farm = farmOf();
    farm.describe({ databases: { orders: { lockTimeout: "300ms", lockAttempts: 2 } } });
    const holder = await farm.connect("orders");
    await holder("BEGIN");
    await holder("LOCK TABLE orders IN ACCESS SHARE MODE");
    expect(await farm.run("databases expand", "orders")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /no lock on orders in 2 attempts, held by process \d+ of \S+ .*idle in transaction.*LOCK TABLE orders.* \[lock-held\]/,
      ),
    });
    expect(await columns("orders", "orders", "channel")).toBe(0);
    expect(await columns("orders", "loyalty", "points")).toBe(0);
    await holder("COMMIT");
    await holder.end();
    await farm.json("resume");
    farm.describe();
    expect(await columns("orders", "orders", "channel")).toBe(1);
  });

  it("is expanded once, also when the process ends on the way", async () => {
    const farm = farmOf();
    await killedAt(farm, /^started: expand the live sessions$/m, "databases expand", "sessions");
    await farm.json("resume");
    expect(await columns("sessions", "sessions", "version")).toBe(1);
  });

  it("goes on where it was when the disk of its journal was full meanwhile", async () => {
    const farm = farmOf();
    const { journal } = farm.disks;
    const holder = await farm.connect("stock");
    await holder("BEGIN");
    await holder("SELECT * FROM items");
    const { child, ended } = farm.start("databases expand", "stock");
    let told = "";
    child.stderr?.on("data", (chunk: Buffer | string) => {
      told += String(chunk);
    });
    await expect.poll(() => told, { timeout: 60_000, interval: 50 }).toMatch(/waits for its lock/);
    journal.fill();
    await holder("COMMIT");
    await holder.end();
    const full = {
      code: 1,
      stderr: expect.stringMatching(/^doppel: .*no space left for the catalog .*\[ENOSPC\]/m),
    };
    expect(await ended).toMatchObject(full);
    expect(await columns("stock", "items", "last_sold")).toBe(1);
    expect(await farm.run("databases expand", "stock")).toMatchObject(full);
    journal.free();
    const steps = await farm.steps("resume");
    expect(steps.map(({ state }) => state)).toEqual(["done", "done", "done"]);
    expect((await farm.run("status", "--verify")).stdout).toContain("is whole");
  });
}

/** Begins with shadows that use copies, and ends with ones that use the live databases, and are checked. */
export function faultsOfPointing(farmOf: () => ShopFarm): void {
  it("is pointed to a live database, also when the process ends on the way", async () => {
    const farm = farmOf();
    const point = ["databases point", "sessions", "--to", "live"] as const;
    await killedAt(farm, /^started: point \S+-web1 to the live sessions$/m, ...point);
    await farm.json("resume");
    for (const { name } of farm.boxes)
      expect(await farm.inShadow(name, "shop-use", "sessions")).toBe("live\n");
  });

  it("is not switched (exit 3) while one shadow cannot reach a database: that one keeps its copy (exit 4)", async () => {
    const farm = farmOf();
    const letIn = await farm.shutOut("web2", "orders");
    const rejected = /pg_hba\.conf rejects connection for host/;
    expect(await farm.run("databases point", "orders", "--to", "live")).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(
        /-web2 on the live orders does not pass its checks, it uses the test copy of orders again: .*database\/web2\/orders/,
      ),
    });
    expect(await farm.inShadow("web1", "shop-use", "orders")).toBe("live\n");
    expect(await farm.inShadow("web2", "shop-use", "orders")).toBe("copy\n");
    const { code, stdout } = await farm.run("check");
    expect({ code, stdout }).toMatchObject({
      code: 4,
      stdout: expect.stringMatching(/^FAIL database web2 to orders: .*/m),
    });
    expect(stdout).toMatch(rejected);
    expect(await farm.run("switch")).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/database\/web2\/orders failed: .*\[gate-closed\]/),
    });
    await letIn();
    await farm.json("databases point", "orders", "--to", "live");
    await farm.json("databases point", "stock", "--to", "live");
  });
}
