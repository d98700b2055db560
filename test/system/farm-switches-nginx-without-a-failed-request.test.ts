import { renameSync, rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SITE } from "../../fixtures/farm/haproxy.ts";
import { Nginx } from "../../fixtures/farm/nginx.ts";
import { epochMs, Users, WebServer } from "../../fixtures/farm/web.ts";
import {
  AFTER_SWITCH,
  askFromOutside,
  BEFORE_SWITCH,
  canaryRouting,
  changeRouting,
  drainSide,
  measureBaseline,
  openRouter,
  routerSnippet,
  watchSwitch,
} from "../../src/farm/routers/index.ts";
import type { Router } from "../../src/farm/routers/router.ts";
import type { Routing } from "../../src/farm/routers/routing.ts";

describe.skipIf(!Nginx.available() && !process.env.CI)("a site behind nginx", () => {
  let servers: WebServer[];
  let nginx: Nginx;
  let router: Router;

  beforeAll(async () => {
    servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
    const [a = 0, b = 0] = servers.map(({ port }) => port);
    nginx = await Nginx.start({ old: [a], new: [b] });
    router = await openRouter(nginx.config, SITE);
  });

  afterAll(async () => {
    await nginx?.[Symbol.asyncDispose]();
    await Promise.all((servers ?? []).map((server) => server[Symbol.asyncDispose]()));
  });

  const versionAt = async (host: string, cookie = "") =>
    (
      await askFromOutside({
        url: `http://${host}/`,
        address: `127.0.0.1:${nginx.port}`,
        version: { header: "x-version" },
        cookie,
      })
    ).version;

  it("is switched, rolled back and switched again: no failed request of 20,000, no connection closed", async () => {
    await using users = new Users(nginx.port, SITE.live, 20);
    let report = await users.more(5000);
    const plan: [Routing, Routing, string][] = [
      [BEFORE_SWITCH, AFTER_SWITCH, "1"],
      [AFTER_SWITCH, BEFORE_SWITCH, "2"],
      [BEFORE_SWITCH, AFTER_SWITCH, "1"],
    ];
    for (const [from, to, left] of plan) {
      await users.report();
      let committedMs = 0;
      await changeRouting([router], {
        from,
        to,
        onPoint: (_, point) => {
          if (point === "committed") committedMs = epochMs();
        },
      });
      report = await users.more(5100, report);
      expect(report.versions[left]?.lastStartedMs ?? 0).toBeLessThan(committedMs);
      expect(await router.probe()).toMatchObject({ runtime: to, persisted: to, agree: true });
    }
    const { failed, failures, mixed, lostSessions, connections } = report;
    expect({ failed, failures, mixed, lostSessions, connections }).toEqual({
      failed: 0,
      failures: [],
      mixed: 0,
      lostSessions: 0,
      connections: 20,
    });
    expect(report.requests).toBeGreaterThan(20_000);
    expect(await versionAt(SITE.shadow)).toBe("1");
  });

  it("stays as it is when nginx restarts, and leads to the old version without its folder's link", async () => {
    await nginx.stop();
    expect((await router.probe()).problems).toMatchObject([{ code: "outside-unreachable" }]);
    await nginx.launch();
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, agree: true });
    renameSync(`${nginx.config.folder}/current`, `${nginx.config.folder}/gone`);
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, agree: true });
    rmSync(`${nginx.config.folder}/gone`);
    await router.reconcile(BEFORE_SWITCH, 5000);
  });

  it("can be tried by some clients first", async () => {
    await changeRouting([router], { from: BEFORE_SWITCH, to: canaryRouting(5) });
    expect(await router.probe()).toMatchObject({ runtime: canaryRouting(5), agree: true });
    const buckets = Array.from({ length: 100 }, (_, bucket) => bucket);
    const versions = await Promise.all(buckets.map((one) => versionAt(SITE.live, `doppel_bucket=${one}`)));
    expect(versions.flatMap((version, bucket) => (version === "2" ? [bucket] : []))).toEqual([0, 1, 2, 3, 4]);
    const { version: cookies } = await askFromOutside({
      url: `http://${SITE.live}/`,
      address: nginx.config.address,
      version: { header: "set-cookie" },
    });
    expect(cookies).toMatch(/doppel_bucket=\d+; Path=\//);
    // A cookie is no path into the folder.
    expect(["1", "2"]).toContain(await versionAt(SITE.live, "doppel_bucket=../live-new"));
    await changeRouting([router], { from: canaryRouting(5), to: BEFORE_SWITCH });
    expect(await versionAt(SITE.live, "doppel_bucket=0")).toBe("1");
  });

  it("is watched by its log, and switched back when the new version fails", async () => {
    await using users = new Users(nginx.port, SITE.live, 4);
    const baseline = await measureBaseline([router], { windowMs: 1000, intervalMs: 100 });
    expect(baseline.requests).toBeGreaterThan(50);
    expect(baseline.responseMs).toBeGreaterThan(0);
    await changeRouting([router], { from: BEFORE_SWITCH, to: AFTER_SWITCH });
    const undo = async () => {
      await changeRouting([router], { from: AFTER_SWITCH, to: BEFORE_SWITCH });
    };
    const mend = () => Promise.reject(new Error("nothing is astray"));
    const watched = watchSwitch([router], { baseline, windowMs: 20_000, intervalMs: 100, undo, mend });
    await servers[1]?.control({ status: 500 });
    expect(await watched).toMatchObject({ undone: true, verdict: { is: "failing" } });
    await servers[1]?.control({ status: 200 });
    expect((await users.more(50, await users.report())).failed).toBeGreaterThan(0);
    expect(await versionAt(SITE.live)).toBe("1");
  });

  it("says what it has not, and refuses an nginx without the lines", async () => {
    await expect(drainSide([router], "old", { timeoutMs: 0 })).rejects.toMatchObject({
      code: "router-cannot",
      exitCode: 3,
    });
    const { log: _, ...withoutLog } = nginx.config;
    const bare = await openRouter({ ...withoutLog }, SITE);
    await expect(bare.statistics()).rejects.toMatchObject({ code: "router-cannot" });
    const other = await openRouter(nginx.config, { live: "a.example.org", shadow: "b.example.org" });
    await changeRouting([router], { from: BEFORE_SWITCH, to: AFTER_SWITCH });
    await expect(other.prepare(BEFORE_SWITCH)).rejects.toMatchObject({ code: "router-changed", exitCode: 3 });
    expect(routerSnippet(nginx.config, SITE)).toContain("proxy_pass http://$doppel_side;");
  });
});
