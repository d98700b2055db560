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
class EdgeFarm<P extends Haproxy | Nginx> implements AsyncDisposable {
  readonly lab: FarmLab;
  readonly edge: Sshd;
  readonly servers: readonly WebServer[];
  readonly program: P;
  /** Looks at it from its own machine. */
  readonly router: Router;

  private constructor(lab: FarmLab, edge: Sshd, servers: readonly WebServer[], program: P, router: Router) {
    this.lab = lab;
    this.edge = edge;
    this.servers = servers;
    this.program = program;
    this.router = router;
  }

  static async start<P extends Haproxy | Nginx>(
    startRouter: (ports: { old: number[]; new: number[] }) => Promise<P>,
  ): Promise<EdgeFarm<P>> {
    const [lab, edge] = await Promise.all([FarmLab.start(), Sshd.start()]);
    const servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
    const program = await startRouter({ old: [servers[0]?.port ?? 0], new: [servers[1]?.port ?? 0] });
    const farm = new EdgeFarm(lab, edge, servers, program, await openRouter(program.config, SITE));
    farm.describe();
    expect((await lab.run("check")).code).toBe(0);
    return farm;
  }

  /** Writes the farm's file; `sshd` is the machine's, `changes` are of the router. */
  describe(sshd = this.edge, changes: object = {}): void {
    const login = [`Port ${sshd.port}`, `User ${sshd.user}`, `IdentityFile ${sshd.userKey}`];
    const known = `UserKnownHostsFile ${sshd.knownHosts}`;
    this.lab.write("ssh_config", `Host edge1\nHostName 127.0.0.1\n${[...login, known].join("\n")}\n`);
    const at = { connect: `127.0.0.1:${this.program.port}` };
    const shadow = { address: "127.0.0.1", port: this.servers[1]?.port };
    this.lab.describe({
      sites: { live: { url: `http://${SITE.live}`, ...at }, shadow: { url: `http://${SITE.shadow}`, ...at } },
      routers: [{ ...this.program.config, ssh: "edge1", ...changes }],
      ssh: { config: "ssh_config" },
      boxes: [{ kind: "existing", name: "web1", shadow }],
      switch: { watch: "2s", drain: "1s" },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const part of [this.program, ...this.servers, this.edge, this.lab])
      await part[Symbol.asyncDispose]();
  }
}

describe.skipIf(!possible || !Haproxy.available())("a HAProxy on another machine", () => {
  let farm: EdgeFarm<Haproxy>;

  beforeAll(async () => {
    farm = await EdgeFarm.start(Haproxy.start);
  });
  afterAll(async () => await farm?.[Symbol.asyncDispose]());

  it("is switched and led back through its runtime socket there, and its map file is written there: no request fails", async () => {
    await using users = new Users(farm.program.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    const { mode, uid, ino } = statSync(farm.program.config.map);
    const switching = farm.lab.doppel.start("farm", "switch", farm.lab.file);
    await expect
      .poll(async () => (await farm.router.probe()).runtime, { timeout: 60_000, interval: 10 })
      .toEqual(AFTER_SWITCH);
    // The watch is under way: who logs in again goes on.
    await farm.edge.cutConnections();
    expect(await switching.ended).toMatchObject({ code: 0 });
    expect(await farm.router.probe()).toMatchObject({ runtime: AFTER_SWITCH, persisted: AFTER_SWITCH });
    const now = statSync(farm.program.config.map);
    expect([now.mode, now.uid, now.ino === ino]).toEqual([mode, uid, false]);
    expect(readFileSync(farm.program.config.map, "utf8")).toMatch(/^# the sites of the tests\n/);
    await farm.program.reload();
    expect(await farm.router.probe()).toMatchObject({ runtime: AFTER_SWITCH, persisted: AFTER_SWITCH });
    await farm.lab.json("rollback");
    expect(await farm.router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    expect(await users.report()).toMatchObject({ failed: 0, mixed: 0, lostSessions: 0 });
  });

  it("is reached by its API over TCP as that machine reaches it, too", async () => {
    farm.describe(farm.edge, { socket: `127.0.0.1:${farm.program.apiPort}` });
    expect((await farm.lab.run("switch", "--dry-run")).stdout).toMatch(/gate open +the routers answer/);
  });

  it("is not switched when that machine does not let the socket be reached (exit 3), and it says why", async () => {
    await using strict = await Sshd.start({ config: ["AllowStreamLocalForwarding no"] });
    farm.describe(strict);
    const { code, stderr } = await farm.lab.run("switch");
    expect(code).toBe(3);
    expect(stderr).toMatch(
      /the routers answer and can be watched: .*admin\.sock on edge1 cannot be asked: .*cannot connect to .*admin\.sock/,
    );
    expect(await farm.router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
  });
});

describe.skipIf(!possible || !Nginx.available())("an nginx on another machine", () => {
  let farm: EdgeFarm<Nginx>;

  beforeAll(async () => {
    farm = await EdgeFarm.start(Nginx.start);
  });
  afterAll(async () => await farm?.[Symbol.asyncDispose]());

  it("has its first users on the new version, is switched, watched by its log there, and led back: no request fails", async () => {
    await using users = new Users(farm.program.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    const switching = farm.lab.doppel.start("farm", "switch", farm.lab.file, "--canary", "5%");
    const canary = { live: "old", shadow: "new", canaryPercent: 5 };
    const seen = { timeout: 60_000, interval: 10 };
    await expect.poll(async () => (await farm.router.probe()).runtime, seen).toEqual(canary);
    await expect.poll(async () => (await farm.router.probe()).runtime, seen).toEqual(AFTER_SWITCH);
    expect(await switching.ended).toMatchObject({ code: 0 });
    const states = () => readdirSync(farm.program.config.folder).filter((name) => name !== "current");
    expect(states()).toEqual([expect.stringMatching(/^state-/)]);
    expect(statSync(`${farm.program.config.folder}/current/live-new`).isFile()).toBe(true);
    await farm.lab.json("rollback");
    expect(await farm.router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    expect(states()).toEqual([]);
    const { failed, mixed, lostSessions, versions } = await users.report();
    expect({ failed, mixed, lostSessions }).toEqual({ failed: 0, mixed: 0, lostSessions: 0 });
    expect(Object.keys(versions).sort()).toEqual(["1", "2"]);
  });

  it("is switched back when the new version fails there", async () => {
    await using users = new Users(farm.program.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    const switching = farm.lab.doppel.start("farm", "switch", farm.lab.file);
    await expect
      .poll(async () => (await farm.router.probe()).runtime, { timeout: 60_000, interval: 10 })
      .toEqual(AFTER_SWITCH);
    await farm.servers[1]?.control({ status: 500 });
    expect((await switching.ended).code).toBe(1);
    await farm.servers[1]?.control({ status: 200 });
    expect(await farm.router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, agree: true });
  });

  it("is not switched while that machine cannot be reached (exit 3)", async () => {
    await farm.edge[Symbol.asyncDispose]();
    const { code, stderr } = await farm.lab.run("switch");
    expect(code).toBe(3);
    expect(stderr).toMatch(
      new RegExp(
        `the routers answer and can be watched: nginx: 127.0.0.1 port ${farm.edge.port} cannot be reached`,
      ),
    );
    expect(await farm.router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
  });
});
