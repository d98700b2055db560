import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { epochMs, Users, WebServer } from "../../fixtures/farm/web.ts";
import { changeRouting } from "../../src/farm/routers/change-routing.ts";
import { HaproxyRouter } from "../../src/farm/routers/haproxy/router.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, type Routing } from "../../src/farm/routers/routing.ts";

const CONNECTIONS = 50;

describe.skipIf(!Haproxy.available() && !process.env.CI)("a site behind HAProxy under load", () => {
  let servers: WebServer[];
  let haproxy: Haproxy;
  let users: Users;
  let router: HaproxyRouter;

  beforeAll(async () => {
    servers = await Promise.all(["1", "1", "2", "2"].map((version) => WebServer.start(version)));
    const [a = 0, b = 0, c = 0, d = 0] = servers.map(({ port }) => port);
    haproxy = await Haproxy.start({ old: [a, b], new: [c, d], entries: ["other.example.org app-old"] });
    router = HaproxyRouter.open(haproxy.config, SITE);
    users = new Users(haproxy.port, SITE.live, CONNECTIONS);
  });

  afterAll(async () => {
    await users?.[Symbol.asyncDispose]();
    await haproxy?.[Symbol.asyncDispose]();
    await Promise.all((servers ?? []).map((server) => server[Symbol.asyncDispose]()));
  });

  /** Changes the routing; tells when the command began and when the last router was committed. */
  async function change(from: Routing, to: Routing) {
    const startedMs = epochMs();
    let committedMs = 0;
    await changeRouting([router], {
      from,
      to,
      onPoint: (_, point) => {
        if (point === "committed") committedMs = epochMs();
      },
    });
    return { startedMs, committedMs };
  }

  it("is switched, rolled back and switched again: no failed request of 20,000, no lost session, no mixture", async () => {
    let report = await users.more(5000);
    expect(Object.keys(report.versions)).toEqual(["1"]);
    const plan: [Routing, Routing, string, string][] = [
      [BEFORE_SWITCH, AFTER_SWITCH, "1", "2"],
      [AFTER_SWITCH, BEFORE_SWITCH, "2", "1"],
      [BEFORE_SWITCH, AFTER_SWITCH, "1", "2"],
    ];
    for (const [from, to, left, reached] of plan) {
      await users.report();
      const { startedMs, committedMs } = await change(from, to);
      report = await users.more(5100, report);
      const first = report.versions[reached]?.firstEndedMs ?? Number.NaN;
      process.stderr.write(
        `${left} to ${reached}: first response ${(first - startedMs).toFixed(1)} ms after the command\n`,
      );
      // No request that was sent after the commit had the side that was left.
      expect(report.versions[left]?.lastStartedMs ?? 0).toBeLessThan(committedMs);
      expect(haproxy.mapFile).toContain(`${SITE.live} ${to.live === "old" ? "app-old" : "app-new"}\n`);
      expect(await router.probe()).toMatchObject({ runtime: to, persisted: to, agree: true, problems: [] });
    }
    const { requests, failed, failures, mixed, lostSessions, connections, mostChanges } = report;
    expect({ failed, failures, mixed, lostSessions }).toEqual({
      failed: 0,
      failures: [],
      mixed: 0,
      lostSessions: 0,
    });
    expect(requests).toBeGreaterThan(20_000);
    // Nobody was thrown back and forth, and no connection had to be opened again.
    expect(mostChanges).toBe(plan.length);
    expect(connections).toBe(CONNECTIONS);
    expect(haproxy.mapFile).toContain("other.example.org app-old\n");
  });

  it("stays switched when HAProxy is reloaded, and when it is killed and started", async () => {
    await haproxy.reload();
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, agree: true });
    await haproxy.kill();
    expect((await router.probe()).problems).toMatchObject([{ code: "ECONNREFUSED" }]);
    await haproxy.launch();
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, agree: true });
  });

  it("is switched over the runtime API's TCP port as well, and keeps a large map whole", async () => {
    const lines = Array.from({ length: 2000 }, (_, at) => `host${at}.example.org app-old`);
    writeFileSync(haproxy.config.map, `${haproxy.mapFile}${lines.join("\n")}\n`);
    await haproxy.reload();
    const socket = `127.0.0.1:${haproxy.apiPort}`;
    const far = HaproxyRouter.open({ ...haproxy.config, socket }, SITE);
    await changeRouting([far], { from: AFTER_SWITCH, to: BEFORE_SWITCH });
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, agree: true });
    expect((await haproxy.ask(`show map ${haproxy.config.map}`)).split("\n")).toEqual(
      expect.arrayContaining([expect.stringMatching(/ host1999.example.org app-old$/)]),
    );
    expect(haproxy.mapFile.split("\n").length).toBe(2000 + 5);
  });
});
