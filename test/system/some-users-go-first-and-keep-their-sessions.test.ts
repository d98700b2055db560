import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { type LoadReport, Users, WebServer } from "../../fixtures/farm/web.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, canaryRouting, openRouter } from "../../src/farm/routers/index.ts";
import type { Router } from "../../src/farm/routers/router.ts";
import { possible } from "./doppel.ts";
import { FarmLab } from "./farm-lab.ts";

/** So many that the hash of their addresses spreads them: the share may be off by three times 3 %. */
const USERS = 200;
const SHARE = 25;
const SPREAD = 0.09;

describe.skipIf(!possible || !Haproxy.available())("a canary", () => {
  let lab: FarmLab;
  let servers: WebServer[];
  let haproxy: Haproxy;
  let router: Router;

  beforeAll(async () => {
    lab = await FarmLab.start();
    servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
    haproxy = await Haproxy.start({ old: [servers[0]?.port ?? 0], new: [servers[1]?.port ?? 0] });
    router = await openRouter(haproxy.config, SITE);
    const { name, socket, map, backends } = haproxy.config;
    const at = { connect: `127.0.0.1:${haproxy.port}` };
    lab.describe({
      sites: { live: { url: `http://${SITE.live}`, ...at }, shadow: { url: `http://${SITE.shadow}`, ...at } },
      routers: [{ kind: "haproxy", name, socket, map, backends }],
      boxes: [{ kind: "existing", name: "web1", shadow: { address: "127.0.0.1", port: servers[1]?.port } }],
      switch: { watch: "6s", drain: "1s", canary: "5%" },
    });
    expect((await lab.run("check")).code).toBe(0);
  });

  afterAll(async () => {
    await haproxy?.[Symbol.asyncDispose]();
    for (const server of servers ?? []) await server[Symbol.asyncDispose]();
    await lab?.[Symbol.asyncDispose]();
  });

  const shareOf = ({ versions }: LoadReport, version: string) => {
    const all = Object.values(versions).reduce((sum, { requests }) => sum + requests, 0);
    return (versions[version]?.requests ?? 0) / all;
  };
  const isCanary = () =>
    expect
      .poll(async () => (await router.probe()).runtime, { timeout: 60_000, interval: 20 })
      .toEqual(canaryRouting(SHARE));
  const switchOver = () => lab.doppel.start("farm", "switch", lab.file, "--canary", `${SHARE}%`);

  it("gives the new version to about the share of requests that was asked for, each user keeps one version and the session; then everybody", async () => {
    await using users = new Users(haproxy.port, SITE.live, USERS, { paceMs: 400, apart: true });
    await users.more(USERS * 2);
    const { ended } = switchOver();
    await isCanary();
    await users.report();
    const during = await users.more(1000, await users.report());
    // Still: so all of these requests were of the canary's time.
    expect((await router.probe()).runtime).toEqual(canaryRouting(SHARE));
    expect(Math.abs(shareOf(during, "2") - SHARE / 100)).toBeLessThan(SPREAD);
    expect(during.mostChanges).toBe(1);
    expect(await ended).toMatchObject({
      code: 0,
      stderr: expect.stringContaining(`done: give ${SHARE} % of`),
    });
    await users.report();
    const after = await users.more(USERS * 2, await users.report());
    expect(shareOf(after, "2")).toBe(1);
    expect(after).toMatchObject({ failed: 0, mixed: 0, lostSessions: 0, mostChanges: 1, connections: USERS });
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, persisted: AFTER_SWITCH });
    process.stderr.write(`${(100 * shareOf(during, "2")).toFixed(1)} % of the requests\n`);
    await lab.json("rollback");
  });

  it("that fails is switched back before anybody else has the new version (exit 1)", async () => {
    await using users = new Users(haproxy.port, SITE.live, USERS, { paceMs: 400, apart: true });
    await users.more(USERS * 2);
    const { ended } = switchOver();
    await isCanary();
    await servers[1]?.control({ status: 500 });
    const { code, stderr } = await ended;
    await servers[1]?.control({ status: 200 });
    expect(code).toBe(1);
    expect(stderr).toMatch(/failed: watch the new version with the first users/);
    expect(stderr).toMatch(/users have the old one again: .* requests failed \[switched-back\]/);
    expect(stderr).not.toContain("started: give the site's users the new version");
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    const before = await users.report();
    const report = await users.more(USERS * 2, before);
    expect(shareOf(report, "1")).toBe(1);
    expect(report.failed).toBe(before.failed);
    expect(report.failed).toBeGreaterThan(0);
    process.stderr.write(`${report.failed} of ${report.requests} requests failed\n`);
  });

  it("of all users is no canary (exit 2)", async () => {
    expect(await lab.run("switch", "--canary", "100%")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("--canary 100% is a switch of all users"),
    });
  });
});
