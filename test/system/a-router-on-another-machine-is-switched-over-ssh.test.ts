import { readdirSync, readFileSync, statSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { Nginx } from "../../fixtures/farm/nginx.ts";
import { Users, WebServer } from "../../fixtures/farm/web.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, openRouter } from "../../src/farm/routers/index.ts";
import type { Router } from "../../src/farm/routers/router.ts";
import { possible } from "./doppel.ts";
import { FarmLab } from "./farm-lab.ts";

/** A farm with one router, on the machine `edge1`. */
function describeSite(
  lab: FarmLab,
  sshd: Sshd,
  { router, port, shadowPort }: { router: object; port: number; shadowPort: number | undefined },
): void {
  const login = [`Port ${sshd.port}`, `User ${sshd.user}`, `IdentityFile ${sshd.userKey}`];
  const known = `UserKnownHostsFile ${sshd.knownHosts}`;
  lab.write("ssh_config", `Host edge1\nHostName 127.0.0.1\n${[...login, known].join("\n")}\n`);
  const at = { connect: `127.0.0.1:${port}` };
  lab.describe({
    sites: { live: { url: `http://${SITE.live}`, ...at }, shadow: { url: `http://${SITE.shadow}`, ...at } },
    routers: [router],
    ssh: { config: "ssh_config" },
    boxes: [{ kind: "existing", name: "web1", shadow: { address: "127.0.0.1", port: shadowPort } }],
    switch: { watch: "2s", drain: "1s" },
  });
}

describe.skipIf(!possible || !Haproxy.available())("a HAProxy on another machine", () => {
  let lab: FarmLab;
  let edge: Sshd;
  let servers: WebServer[];
  let haproxy: Haproxy;
  /** Looks at it from its own machine. */
  let router: Router;

  beforeAll(async () => {
    [lab, edge] = await Promise.all([FarmLab.start(), Sshd.start()]);
    servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
    haproxy = await Haproxy.start({ old: [servers[0]?.port ?? 0], new: [servers[1]?.port ?? 0] });
    router = await openRouter(haproxy.config, SITE);
    describeFarm(edge);
    expect((await lab.run("check")).code).toBe(0);
  });

  afterAll(async () => {
    await haproxy?.[Symbol.asyncDispose]();
    for (const server of servers ?? []) await server[Symbol.asyncDispose]();
    await edge?.[Symbol.asyncDispose]();
    await lab?.[Symbol.asyncDispose]();
  });

  function describeFarm(sshd: Sshd, socket = haproxy.config.socket): void {
    const { name, map, backends } = haproxy.config;
    const router = { kind: "haproxy", name, ssh: "edge1", socket, map, backends };
    describeSite(lab, sshd, { router, port: haproxy.port, shadowPort: servers[1]?.port });
  }

  it("is switched and led back through its runtime socket there, and its map file is written there: no request fails", async () => {
    await using users = new Users(haproxy.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    const { mode, uid, ino } = statSync(haproxy.config.map);
    const switching = lab.doppel.start("farm", "switch", lab.file);
    await expect
      .poll(async () => (await router.probe()).runtime, { timeout: 60_000, interval: 10 })
      .toEqual(AFTER_SWITCH);
    // The watch is under way: who logs in again goes on.
    await edge.cutConnections();
    expect(await switching.ended).toMatchObject({ code: 0 });
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, persisted: AFTER_SWITCH });
    const now = statSync(haproxy.config.map);
    expect([now.mode, now.uid, now.ino === ino]).toEqual([mode, uid, false]);
    expect(readFileSync(haproxy.config.map, "utf8")).toMatch(/^# the sites of the tests\n/);
    await haproxy.reload();
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, persisted: AFTER_SWITCH });
    await lab.json("rollback");
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    expect(await users.report()).toMatchObject({ failed: 0, mixed: 0, lostSessions: 0 });
  });

  it("is reached by its API over TCP as that machine reaches it, too", async () => {
    describeFarm(edge, `127.0.0.1:${haproxy.apiPort}`);
    expect((await lab.run("switch", "--dry-run")).stdout).toMatch(/gate open +the routers answer/);
  });

  it("is not switched when that machine does not let the socket be reached (exit 3), and it says why", async () => {
    await using strict = await Sshd.start({ config: ["AllowStreamLocalForwarding no"] });
    describeFarm(strict);
    const { code, stderr } = await lab.run("switch");
    expect(code).toBe(3);
    expect(stderr).toMatch(
      /the routers answer and can be watched: .*admin\.sock on edge1 cannot be asked: .*cannot connect to .*admin\.sock/,
    );
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
  });
});

describe.skipIf(!possible || !Nginx.available())("an nginx on another machine", () => {
  let lab: FarmLab;
  let edge: Sshd;
  let servers: WebServer[];
  let nginx: Nginx;
  /** Looks at it from its own machine. */
  let router: Router;

  beforeAll(async () => {
    [lab, edge] = await Promise.all([FarmLab.start(), Sshd.start()]);
    servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
    nginx = await Nginx.start({ old: [servers[0]?.port ?? 0], new: [servers[1]?.port ?? 0] });
    router = await openRouter(nginx.config, SITE);
    const ssh = { ...nginx.config, ssh: "edge1" };
    describeSite(lab, edge, { router: ssh, port: nginx.port, shadowPort: servers[1]?.port });
    expect((await lab.run("check")).code).toBe(0);
  });

  afterAll(async () => {
    await nginx?.[Symbol.asyncDispose]();
    for (const server of servers ?? []) await server[Symbol.asyncDispose]();
    await edge?.[Symbol.asyncDispose]();
    await lab?.[Symbol.asyncDispose]();
  });

  it("has its first users on the new version, is switched, watched by its log there, and led back: no request fails", async () => {
    await using users = new Users(nginx.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    const switching = lab.doppel.start("farm", "switch", lab.file, "--canary", "5%");
    const canary = { live: "old", shadow: "new", canaryPercent: 5 };
    const seen = { timeout: 60_000, interval: 10 };
    await expect.poll(async () => (await router.probe()).runtime, seen).toEqual(canary);
    await expect.poll(async () => (await router.probe()).runtime, seen).toEqual(AFTER_SWITCH);
    expect(await switching.ended).toMatchObject({ code: 0 });
    const states = () => readdirSync(nginx.config.folder).filter((name) => name !== "current");
    expect(states()).toEqual([expect.stringMatching(/^state-/)]);
    expect(statSync(`${nginx.config.folder}/current/live-new`).isFile()).toBe(true);
    await lab.json("rollback");
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    expect(states()).toEqual([]);
    const { failed, mixed, lostSessions, versions } = await users.report();
    expect({ failed, mixed, lostSessions }).toEqual({ failed: 0, mixed: 0, lostSessions: 0 });
    expect(Object.keys(versions).sort()).toEqual(["1", "2"]);
  });

  it("is switched back when the new version fails there", async () => {
    await using users = new Users(nginx.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    const switching = lab.doppel.start("farm", "switch", lab.file);
    await expect
      .poll(async () => (await router.probe()).runtime, { timeout: 60_000, interval: 10 })
      .toEqual(AFTER_SWITCH);
    await servers[1]?.control({ status: 500 });
    expect((await switching.ended).code).toBe(1);
    await servers[1]?.control({ status: 200 });
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, agree: true });
  });

  it("is not switched while that machine cannot be reached (exit 3)", async () => {
    await edge[Symbol.asyncDispose]();
    const { code, stderr } = await lab.run("switch");
    expect(code).toBe(3);
    expect(stderr).toMatch(
      new RegExp(
        `the routers answer and can be watched: nginx: 127.0.0.1 port ${edge.port} cannot be reached`,
      ),
    );
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
  });
});
