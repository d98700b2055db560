import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PostgresServer } from "../../fixtures/databases.ts";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { Users, WebServer } from "../../fixtures/farm/web.ts";
import { possible } from "./doppel.ts";
import { shop, sqlOf } from "./farm-databases.ts";
import { FarmLab } from "./farm-lab.ts";

const MIGRATION = `CREATE TABLE notes (id bigint PRIMARY KEY);
ALTER TABLE accounts ADD COLUMN nickname text;
CREATE TABLE more (id bigint PRIMARY KEY);
`;

describe.skipIf(!possible || !PostgresServer.available() || !Haproxy.available())("an expansion", () => {
  let lab: FarmLab;
  let postgres: PostgresServer;
  let servers: WebServer[];
  let haproxy: Haproxy;

  beforeAll(async () => {
    [lab, postgres, servers] = await Promise.all([
      FarmLab.start(),
      PostgresServer.start(),
      Promise.all(["1", "2"].map((version) => WebServer.start(version))),
    ]);
    haproxy = await Haproxy.start({ old: [servers[0]?.port ?? 0], new: [servers[1]?.port ?? 0] });
    await shop(postgres, "orders");
    lab.write("orders-url", postgres.url("orders"));
    lab.write("orders.sql", MIGRATION);
    const { name, socket, map, backends } = haproxy.config;
    const at = { connect: `127.0.0.1:${haproxy.port}` };
    lab.describe({
      sites: { live: { url: `http://${SITE.live}`, ...at }, shadow: { url: `http://${SITE.shadow}`, ...at } },
      routers: [{ kind: "haproxy", name, socket, map, backends }],
      boxes: [{ kind: "existing", name: "web1", shadow: { address: "127.0.0.1" } }],
      databases: [
        {
          ...{ engine: "postgres", name: "orders", url: { file: "orders-url" } },
          ...{ migrations: ["orders.sql"], lockTimeout: "300ms" },
        },
      ],
      switch: { watch: "5s" },
    });
    await lab.doppel.json("farm", "databases", "copy", lab.file);
  });

  afterAll(async () => {
    await haproxy?.[Symbol.asyncDispose]();
    for (const server of servers ?? []) await server[Symbol.asyncDispose]();
    await postgres?.[Symbol.asyncDispose]();
    await lab?.[Symbol.asyncDispose]();
  });

  it("stops between two statements when users of the live site fail, keeps what was added, and goes on by a resume", async () => {
    await using users = new Users(haproxy.port, SITE.live, 4, { paceMs: 10 });
    await users.more(50);
    // Somebody's transaction keeps the second statement waiting: time to see what users get.
    const old = await sqlOf(postgres, "orders");
    await old("BEGIN");
    await old("SELECT * FROM accounts");
    const { child, ended } = lab.doppel.start("farm", "databases", "expand", lab.file, "orders");
    let told = "";
    child.stderr?.on("data", (chunk: Buffer | string) => {
      told += String(chunk);
    });
    await expect.poll(() => told, { timeout: 60_000, interval: 20 }).toMatch(/waits for its lock/);
    expect(told).toMatch(/^orders: users are watched meanwhile; before: 0\.0 % of [1-9]\d* requests failed/m);
    await servers[0]?.control({ status: 500 });
    const { code, stderr } = await ended;
    expect({ code, stderr }).toMatchObject({ code: 1 });
    expect(stderr).toMatch(
      /^doppel: users suffer, so it was stopped before orders\.sql:2: ALTER TABLE accounts .*: [\d.]+ % of \d+ requests failed, 1\.0 % are allowed \[site-suffers\]/m,
    );
    expect(await lab.json("status")).toMatchObject({ lastRun: { error: { code: "site-suffers" } } });
    const tables = "SELECT to_regclass('notes') IS NULL AS notes, to_regclass('more') IS NULL AS more";
    expect(await old(tables)).toEqual([{ notes: false, more: true }]);
    await old("COMMIT");
    await old.end();

    await servers[0]?.control({ status: 200 });
    const { steps } = await lab.json("resume");
    expect(steps).toContainEqual(
      expect.objectContaining({
        step: "database/orders/expand",
        result: expect.objectContaining({
          ran: 2,
          site: {
            before: expect.objectContaining({ errorRate: 0 }),
            meanwhile: expect.objectContaining({ errorRate: 0, requests: expect.any(Number) }),
          },
        }),
      }),
    );
  });

  it("is not begun while nothing tells how users are (exit 3)", async () => {
    lab.write("orders.sql", `${MIGRATION}CREATE TABLE another (id int);\n`);
    await haproxy.kill();
    const refused = await lab.doppel.run("farm", "databases", "expand", lab.file, "orders");
    expect(refused.code).toBe(3);
    expect(refused.stderr).toMatch(/the routers answer and can be watched: haproxy: .*cannot be asked/);
  });
});
