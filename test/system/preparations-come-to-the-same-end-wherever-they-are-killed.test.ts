import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PostgresServer } from "../../fixtures/databases.ts";
import { BEFORE_SWITCH } from "../../src/farm/routers/index.ts";
import { packageRoot, possible } from "./doppel.ts";
import { databases, type Sql, shop, sqlOf } from "./farm-databases.ts";
import { FarmLab } from "./farm-lab.ts";
import { Operator } from "./farm-operator.ts";

const ROUTER = join(packageRoot, "fixtures/farm/router-command.js");
const MIGRATION =
  "CREATE TABLE notes (id bigserial PRIMARY KEY);\nALTER TABLE accounts ADD COLUMN nickname text;\n";
const TEST_COPY = "orders_doppel_copy";

describe.skipIf(!possible || !PostgresServer.available())("what is prepared before a switch", () => {
  let lab: FarmLab;
  let postgres: PostgresServer;
  let operator: Operator;

  beforeAll(async () => {
    [lab, postgres] = await Promise.all([FarmLab.start("web1"), PostgresServer.start()]);
    operator = new Operator(lab);
    await shop(postgres, "orders");
    lab.write("orders-url", `${postgres.url("orders")}\n`);
    lab.write("orders.sql", MIGRATION);
    lab.write("app.conf", "version = 2\n");
    lab.write("install.sh", `#!/bin/sh\necho ran >> ${lab.at("installed")}\n`);
    lab.write("router.json", JSON.stringify({ routing: BEFORE_SWITCH }));
    const scheduler = lab.at("scheduler-runs");
    lab.describe({
      routers: [
        { kind: "command", name: "edge", command: [process.execPath, ROUTER, lab.at("router.json")] },
      ],
      switch: { watch: "0s" },
      off: [
        {
          ...{ name: "scheduler", off: ["rm", "-f", scheduler], on: ["touch", scheduler] },
          probe: ["test", "-e", scheduler],
        },
      ],
      provision: {
        steps: [
          { kind: "file", from: "app.conf", to: lab.at("etc/app.conf"), mode: "0640" },
          { kind: "script", from: "install.sh" },
          // What an installation may do: start what must stay off.
          { kind: "command", run: ["touch", scheduler] },
        ],
      },
      databases: [
        {
          ...{ engine: "postgres", name: "orders", url: { file: "orders-url" }, safetyCopies: "copies" },
          migrations: ["orders.sql"],
          oldVersionChecks: [
            { kind: "sql", name: "accounts", query: "SELECT count(*) FROM accounts", equals: "200" },
          ],
        },
      ],
    });
  });

  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await postgres?.[Symbol.asyncDispose]();
    await lab?.[Symbol.asyncDispose]();
  });

  /** Kills a command at each of its moments, begins each time with `before`, and goes on with `after`. */
  async function killedEverywhere(
    words: [string, ...string[]],
    before: () => Promise<void>,
    after: (killed: string) => Promise<void>,
  ): Promise<string[]> {
    const moments: string[] = [];
    for (let moment = 1; ; moment += 1) {
      await before();
      const killed = await operator.killedAt(moment, ...words);
      if (killed === undefined) break;
      moments.push(killed);
      await after(killed);
    }
    process.stderr.write(`${words[0]}: killed ${moments.length} times\n`);
    return moments;
  }

  async function onDatabase<T>(name: string, act: (sql: Sql) => Promise<T>): Promise<T> {
    const sql = await sqlOf(postgres, name);
    return await act(sql).finally(() => sql.end());
  }

  it("is a shadow that is provisioned, by a resume after a kill at each entry of the journal", async () => {
    const moments = await killedEverywhere(
      ["provision"],
      async () => {
        for (const name of ["etc", "installed"]) rmSync(lab.at(name), { recursive: true, force: true });
        rmSync(join("/var/lib/doppel", lab.name), { recursive: true, force: true });
        writeFileSync(lab.at("scheduler-runs"), "");
      },
      async (killed) => {
        await operator.run("resume");
        const seen = {
          config: readFileSync(lab.at("etc/app.conf"), "utf8"),
          installed: readFileSync(lab.at("installed"), "utf8"),
          runs: existsSync(lab.at("scheduler-runs")),
          unfinished: await operator.unfinished(),
        };
        expect([killed, seen]).toEqual([
          killed,
          { config: "version = 2\n", unfinished: null, installed: "ran\n", runs: false },
        ]);
      },
    );
    for (const kind of ["started", "done"])
      expect(moments.filter((name) => name.startsWith(`after step-${kind}`)).length).toBeGreaterThanOrEqual(
        5,
      );
  });

  it("are copies of a database: whole and rehearsed by a resume, or none by the undo, and nothing half-made", async () => {
    const made = () => databases(postgres, "orders");
    const files = () => (existsSync(lab.at("copies")) ? readdirSync(lab.at("copies")) : []);
    const undone = () => operator.run("databases copy", "--undo");
    const nothing = async () => {
      await undone();
      rmSync(lab.at("copies"), { recursive: true, force: true });
    };
    const moments = await killedEverywhere(["databases copy"], nothing, async (killed) => {
      await operator.run("resume");
      expect([killed, (await made()).sort()]).toEqual([killed, ["orders", TEST_COPY]]);
      expect([killed, files().length, await operator.unfinished()]).toEqual([killed, 1, null]);
    });
    expect(moments).toContain("after the dump was loaded");
    await killedEverywhere(["databases copy"], nothing, async (killed) => {
      await undone();
      expect([killed, await made(), await operator.unfinished()]).toEqual([killed, ["orders"], null]);
      // A safety copy that came to its end stays.
      expect([killed, files().filter((name) => !name.endsWith(".dump"))]).toEqual([killed, []]);
    });
    await operator.run("databases copy");
  });

  it("is a database that is expanded once, on its copy and live, by a resume after a kill at each entry of the journal", async () => {
    const columns = (name: string) =>
      onDatabase(name, (sql) =>
        sql(
          "SELECT 1 FROM information_schema.columns WHERE column_name = 'nickname' AND table_name = 'accounts'",
        ),
      );
    const moments = await killedEverywhere(
      ["databases expand", "orders"],
      async () => {
        for (const name of ["orders", TEST_COPY])
          await onDatabase(name, (sql) =>
            sql(
              "DROP TABLE IF EXISTS notes, doppel_migrations; ALTER TABLE accounts DROP COLUMN IF EXISTS nickname",
            ),
          );
      },
      async (killed) => {
        await operator.run("resume");
        const expanded = await Promise.all(["orders", TEST_COPY].map(columns));
        expect([killed, expanded.map(({ length }) => length), await operator.unfinished()]).toEqual([
          killed,
          [1, 1],
          null,
        ]);
      },
    );
    expect(moments.filter((name) => name.startsWith("after step-started")).length).toBe(3);
  });
});
