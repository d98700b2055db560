import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SITE } from "../../fixtures/farm/haproxy.ts";
import { type LoadReport, Users } from "../../fixtures/farm/web.ts";
import { possible } from "../system/doppel.ts";
import { DATABASES, ShopFarm } from "./shop-farm.ts";

const USERS = 24;
/** Together 120 requests a second, of which every tenth is an order. */
const HABITS = { paceMs: 200, orderEvery: 10 };
const LEAST_REQUESTS = 20_000;

interface Step {
  step: string;
  state: string;
  result: Record<string, unknown>;
}

describe.skipIf(!possible || !ShopFarm.available())(
  "a farm of two boxes with users who shop all the time",
  () => {
    let farm: ShopFarm;
    let users: Users;

    beforeAll(async () => {
      farm = await ShopFarm.start();
      users = new Users(farm.port, SITE.live, USERS, HABITS);
      const { versions } = await users.more(100);
      expect(Object.keys(versions)).toEqual(["1"]);
    });

    afterAll(async () => {
      await users?.[Symbol.asyncDispose]();
      await farm?.[Symbol.asyncDispose]();
    });

    const stepsOf = async (command: string, ...words: string[]) =>
      (await farm.json(command, ...words)) as unknown as { steps: Step[] };

    it("gets a shadow with the new version beside each box, which has nothing but copies to use", async () => {
      const { steps } = await stepsOf("provision");
      expect(steps.filter(({ step }) => /^box\/web[12]\/(shadow|ready)$/.test(step))).toHaveLength(4);
      expect(steps.every(({ state }) => state === "done")).toBe(true);
    });

    it("has its databases expanded while version 1 uses them, and its shadows pointed to them", async () => {
      await farm.json("databases copy");
      for (const database of DATABASES) await farm.json("databases expand", database);
      for (const database of DATABASES) await farm.json("databases point", database, "--to", "live");
      const { cells } = (await farm.json("check")) as unknown as { cells: { id: string; passed: boolean }[] };
      expect(cells.map(({ id }) => id)).toEqual(
        expect.arrayContaining([
          ...["web1", "web2"].flatMap((box) => DATABASES.map((database) => `database/${box}/${database}`)),
          ...["machine/web1/web2", "machine/web2/web1", "outside/outside/web1", "outside/outside/web2"],
        ]),
      );
      expect(Object.keys((await users.report()).versions)).toEqual(["1"]);
    });

    it("is switched in one step, led back, and switched again", async () => {
      await users.report();
      const first = await stepsOf("switch");
      const began = routerStepBegan(farm);
      const after = await users.report();
      tellSwitch(first.steps, after, await began);
      expect(Object.keys(after.versions)).toContain("2");
      expect(await farm.inLive("web1", "shop-mailer probe || echo off")).toBe("off\n");

      await stepsOf("rollback");
      await users.report();
      const old = await users.more(100, await users.report());
      expect(Object.keys(old.versions)).toEqual(["1"]);
      expect(await farm.inLive("web1", "shop-mailer probe && echo on")).toBe("on\n");

      await farm.json("check");
      await stepsOf("switch");
      await users.report();
      const fresh = await users.more(100, await users.report());
      expect(Object.keys(fresh.versions)).toEqual(["2"]);
    });

    it("is cleaned once the user says so: the old machines are gone, their disks stay, and there is no way back", async () => {
      const asked = await farm.doppel.runWithoutTerminal("farm", "clean", farm.file);
      expect(asked).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("[not-confirmed] - without a terminal say --yes"),
      });
      expect(await farm.domains()).toHaveLength(4);
      const { steps } = await stepsOf("clean", "--yes");
      expect((await farm.domains()).sort()).toEqual(farm.boxes.map(({ shadow }) => shadow.domain).sort());
      const removed = steps.find(({ step }) => step === "clean/undefine/web1")?.result;
      const { disks, definition } = removed as { disks: string[]; definition: string };
      expect(disks).toHaveLength(1);
      for (const path of [...disks, definition]) expect(existsSync(path)).toBe(true);
      expect(await farm.run("rollback")).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("'doppel farm clean' has removed it [gate-closed]"),
      });
    });

    it("has lost no request, no session and no order of theirs, and mailed every order once", async () => {
      const sent = async () => (await users.report()).requests;
      await expect.poll(sent, { timeout: 600_000, interval: 500 }).toBeGreaterThanOrEqual(LEAST_REQUESTS);
      const report = await users.stop();
      process.stderr.write(`${report.requests} requests, ${report.orders} orders, ${report.failed} failed\n`);
      expect(report).toMatchObject({ failed: 0, failures: [], mixed: 0, lostSessions: 0, askedAgain: 0 });
      // To version 2, back, and to it again; nobody's connection was cut.
      expect(report).toMatchObject({ connections: USERS, mostChanges: 3 });
      expect(report.requests).toBeGreaterThanOrEqual(LEAST_REQUESTS);

      const orders = await farm.ask("orders", "SELECT count(*)::int AS n FROM orders");
      const points = await farm.ask(
        "orders",
        "SELECT count(*)::int AS n FROM orders WHERE (channel = 'web') <> EXISTS (SELECT FROM loyalty WHERE order_id = orders.id)",
      );
      expect(orders.n).toBe(report.orders);
      expect(points.n).toBe(0);
      expect((await farm.ask("stock", "SELECT sold AS n FROM items")).n).toBe(report.orders);
      const sessions = await farm.ask(
        "sessions",
        "SELECT count(*)::int AS n, sum(visits)::int AS visits FROM sessions",
      );
      expect(sessions.visits).toBeGreaterThanOrEqual(report.requests);
      const mails = () =>
        farm.ask("orders", "SELECT count(*)::int AS n, count(DISTINCT order_id)::int AS d FROM mails");
      await expect.poll(mails, { timeout: 30_000 }).toEqual({ n: report.orders, d: report.orders });
    });
  },
);

/** When the switch command began to change the router, in milliseconds since 1970: from the journal. */
async function routerStepBegan(farm: ShopFarm): Promise<number> {
  const audit = join(farm.folder, "audit.md");
  await farm.run("status", "--audit", audit);
  const line = /^- (\S+) begins: give the site's users the new version/m.exec(readFileSync(audit, "utf8"));
  return Date.parse(line?.[1] ?? "");
}

function tellSwitch(steps: readonly Step[], { versions }: LoadReport, beganMs: number): void {
  const { milliseconds } = steps.find(({ step }) => step === "switch/routers")?.result ?? {};
  const firstMs = (versions["2"]?.firstEndedMs ?? Number.NaN) - beganMs;
  process.stderr.write(
    `the router's change took ${milliseconds} ms; the first response of version 2 came ${firstMs.toFixed(0)} ms after its beginning\n`,
  );
}
