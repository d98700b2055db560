import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SITE } from "../../fixtures/farm/haproxy.ts";
import { type LoadReport, Users } from "../../fixtures/farm/web.ts";
import { possible } from "../system/doppel.ts";
import { ShopFarm, type ShopStep } from "./shop-farm.ts";
import { DATABASES } from "./shop-farm-file.ts";
import { faultsOfExpansion, faultsOfPointing } from "./shop-faults/databases.ts";
import { failingVersion } from "./shop-faults/failing-version.ts";
import { killedAt } from "./shop-faults/killed.ts";
import { faultsOfProvisioning, killedProvisions } from "./shop-faults/provision.ts";
import { faultsOfSwitching } from "./shop-faults/switch.ts";
import { versionsNow } from "./shop-faults/versions.ts";

const USERS = 24;
/** Every tenth request is an order. More requests than these keep an emulated shop busy with nothing else. */
const HABITS = { paceMs: 600, orderEvery: 10 };
/** While users are switched there are some more, who ask again as soon as they are answered: they see when it reaches them. */
const EAGER_USERS = 2;
const REQUESTS_PER_SECOND = (USERS * 1000) / HABITS.paceMs;
const LEAST_REQUESTS = 20_000;

describe.skipIf(!possible || !ShopFarm.available())(
  "a farm of two boxes with users who shop all the time",
  () => {
    let farm: ShopFarm;
    let users: Users;
    /** Requests that a failing version has cost. */
    let failed = 0;
    /** Requests of the eager users. */
    let eagerRequests = 0;

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

    killedProvisions(() => farm);
    // The shadows boot meanwhile.
    faultsOfExpansion(() => farm);
    faultsOfProvisioning(() => farm);
    faultsOfPointing(() => farm);

    it("is checked: who reaches whom, with both versions on the live databases and users on the old one", async () => {
      const { cells } = (await farm.json("check")) as unknown as { cells: { id: string; passed: boolean }[] };
      expect(cells.map(({ id }) => id)).toEqual(
        expect.arrayContaining([
          ...["web1", "web2"].flatMap((box) => DATABASES.map((database) => `database/${box}/${database}`)),
          ...["machine/web1/web2", "machine/web2/web1", "outside/outside/web1", "outside/outside/web2"],
        ]),
      );
      expect(Object.keys((await users.report()).versions)).toEqual(["1"]);
    });

    faultsOfSwitching(
      () => farm,
      () => users,
    );

    it("is led back by itself when the new version begins to fail ten seconds after the switch", async () => {
      failed = await failingVersion(farm, users);
      expect(failed).toBeGreaterThan(0);
      expect(failed).toBeLessThan(5 * REQUESTS_PER_SECOND);
      expect(await versionsNow(users)).toEqual(["1"]);
    });

    it("is switched in one step, led back, and switched again", async () => {
      const { mostChanges } = await users.report();
      await using eager = new Users(farm.port, SITE.live, EAGER_USERS);
      await eager.more(100);
      const steps = await farm.steps("switch");
      tellSwitch(steps, await eager.report(), await routerStepBegan(farm));
      expect(Object.keys((await users.report()).versions)).toContain("2");
      expect(await farm.inLive("web1", "shop-mailer probe || echo off")).toBe("off\n");

      await farm.steps("rollback");
      expect(await versionsNow(users)).toEqual(["1"]);
      expect(await farm.inLive("web1", "shop-mailer probe && echo on")).toBe("on\n");

      await farm.json("check");
      await farm.steps("switch");
      expect(await versionsNow(users)).toEqual(["2"]);
      // To version 2, back, and to it again.
      expect((await users.report()).mostChanges).toBeLessThanOrEqual(mostChanges + 3);
      const asked = await eager.stop();
      expect(asked).toMatchObject({ failed: 0, mixed: 0, lostSessions: 0, askedAgain: 0, mostChanges: 3 });
      eagerRequests = asked.requests;
    });

    it("is cleaned once the user says so, also when that is killed: the old machines go, their disks stay, and there is no way back", async () => {
      const asked = await farm.doppel.runWithoutTerminal("farm", "clean", farm.file);
      expect(asked).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("[not-confirmed] - without a terminal say --yes"),
      });
      expect(await farm.domains()).toHaveLength(4);
      await killedAt(farm, /^started: shut down /m, "clean", "--yes");
      await killedAt(farm, /^started: take .* out of libvirt/m, "resume");
      const steps = await farm.steps("resume");
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

    it("drops its test copies of the databases once the user says so, after showing them; the safety copies stay", async () => {
      const copies = "SELECT count(*)::int AS n FROM pg_database WHERE datname LIKE '%copy%'";
      const asked = await farm.doppel.runWithoutTerminal("farm", "databases", "clean", farm.file);
      expect(asked).toMatchObject({ code: 3, stderr: expect.stringContaining("[not-confirmed]") });
      for (const database of ["orders", "sessions", "stock"])
        expect(asked.stderr).toMatch(
          new RegExp(`to do  drop the test copy of ${database} +undo: do it again: make a test copy of`),
        );
      expect((await farm.ask("orders", copies)).n).toBe(2);
      const kept = readdirSync(farm.disks.copies.path);
      await farm.steps("databases clean", "--yes");
      expect(await farm.ask("orders", copies)).toEqual({ n: 0 });
      expect(readdirSync(farm.disks.copies.path)).toEqual(kept);
    });

    it("has lost no session, no order and no request of theirs but those of the failing version, and mailed every order once", async () => {
      const sent = async () => (await users.report()).requests + eagerRequests;
      await expect.poll(sent, { timeout: 600_000, interval: 500 }).toBeGreaterThanOrEqual(LEAST_REQUESTS);
      const report = await users.stop();
      const requests = report.requests + eagerRequests;
      process.stderr.write(
        `${requests} requests (${eagerRequests} of eager users), ${report.orders} orders, ${report.failed} failed\n`,
      );
      expect(report).toMatchObject({ failed, mixed: 0, lostSessions: 0, askedAgain: 0, connections: USERS });
      expect(requests).toBeGreaterThanOrEqual(LEAST_REQUESTS);

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
      expect(sessions.visits).toBeGreaterThanOrEqual(requests - failed);
      const mails = () =>
        farm.ask("orders", "SELECT count(*)::int AS n, count(DISTINCT order_id)::int AS d FROM mails");
      await expect.poll(mails, { timeout: 30_000 }).toEqual({ n: report.orders, d: report.orders });
    });
  },
);

/** When the last switch command began to change the router, in milliseconds since 1970: from the journal. */
async function routerStepBegan(farm: ShopFarm): Promise<number> {
  const audit = join(farm.folder, "audit.md");
  await farm.run("status", "--audit", audit);
  const lines = readFileSync(audit, "utf8").matchAll(
    /^- (\S+) begins: give the site's users the new version/gm,
  );
  return Date.parse([...lines].at(-1)?.[1] ?? "");
}

function tellSwitch(steps: readonly ShopStep[], { versions }: LoadReport, beganMs: number): void {
  const { milliseconds } = steps.find(({ step }) => step === "switch/routers")?.result ?? {};
  const { firstStartedMs = Number.NaN, firstEndedMs = Number.NaN } = versions["2"] ?? {};
  const after = (ms: number) => `${(ms - beganMs).toFixed(0)} ms`;
  process.stderr.write(
    `the router's change took ${milliseconds} ms; the first response of version 2 came ${after(firstEndedMs)} after its beginning, to a request of ${after(firstStartedMs)} after it\n`,
  );
}
