import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { openTunnel, Users, WebServer } from "../../fixtures/farm/web.ts";
import { SmallDisk } from "../../fixtures/small-disk.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, openRouter, WITHOUT_OLD } from "../../src/farm/routers/index.ts";
import type { Router } from "../../src/farm/routers/router.ts";
import { must, packageRoot, possible, runCommand } from "./doppel.ts";
import { FarmLab, sshSettings } from "./farm-lab.ts";

/** What the way back is called while it is done. */
const BACK = "give the site's users the old version again";

/** What is looked at of a pipeline. */
interface Workflow {
  jobs: Record<string, { steps: { run?: string; if?: string }[] }>;
}

const WATCH = { watch: "2s", drain: "2s" };

describe.skipIf(!possible || !Haproxy.available())("a farm", () => {
  let lab: FarmLab;
  let servers: WebServer[];
  let haproxy: Haproxy;
  let router: Router;

  beforeAll(async () => {
    // The live machine is one more sshd: it is no box of the farm.
    lab = await FarmLab.start("web1", "live1");
    servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
    haproxy = await Haproxy.start({ old: [servers[0]?.port ?? 0], new: [servers[1]?.port ?? 0] });
    router = await openRouter(haproxy.config, SITE);
    lab.writeSshConfig("old-web1", "live1");
    writeFileSync(mailerOf("live1"), "");
    describeFarm();
  });

  afterAll(async () => {
    await haproxy?.[Symbol.asyncDispose]();
    for (const server of servers ?? []) await server[Symbol.asyncDispose]();
    await lab?.[Symbol.asyncDispose]();
  });

  /** The file that is there while a machine sends mail; both machines are this one and differ by their sshd's port. */
  const mailerOf = (box: string) => join(lab.folder, `mailer-${lab.box(box).sshd.port}`);
  const mailing = () => ["live1", "web1"].filter((box) => existsSync(mailerOf(box)));

  function describeFarm(
    switching: Record<string, unknown> = WATCH,
    ssh: { ssh?: string } = { ssh: "old-web1" },
    others: unknown[] = [],
    more: Record<string, unknown> = {},
  ): void {
    const { port } = haproxy;
    const { name, socket, map, backends } = haproxy.config;
    const mailer = `${lab.folder}/mailer-$(echo $SSH_CONNECTION | cut -d" " -f4)`;
    lab.describe({
      sites: {
        live: { url: `http://${SITE.live}`, connect: `127.0.0.1:${port}` },
        shadow: { url: `http://${SITE.shadow}`, connect: `127.0.0.1:${port}` },
      },
      routers: [{ kind: "haproxy", name, socket, map, backends }, ...others],
      ssh: { config: "ssh_config" },
      boxes: [
        {
          kind: "existing",
          name: "web1",
          live: { address: "127.0.0.1", port: servers[0]?.port, ...ssh },
          shadow: { address: "127.0.0.1", port: servers[1]?.port, ssh: sshSettings(lab.box("web1").sshd) },
        },
      ],
      off: [
        {
          name: "mailer",
          off: ["sh", "-c", `rm -f ${mailer}`],
          on: ["sh", "-c", `touch ${mailer}`],
          probe: ["sh", "-c", `test -e ${mailer}`],
        },
      ],
      switch: switching,
      ...more,
    });
  }

  const check = async () => expect((await lab.run("check")).code).toBe(0);

  it("is not switched while its checks were not made (exit 3): users keep the old version", async () => {
    const { code, stderr } = await lab.run("switch");
    expect(code).toBe(3);
    expect(stderr).toContain("outside/outside/web1 was never checked: run 'doppel farm check' [gate-closed]");
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    expect(mailing()).toEqual(["live1"]);
  });

  it("gives its users the new version without a failed request, then what may run on one side only, and all of it back", async () => {
    await check();
    await using users = new Users(haproxy.port, SITE.live, 8, { paceMs: 5 });
    await users.more(200);
    expect((await lab.run("switch", "--dry-run")).stdout).toMatch(
      /to do +rehearse the way back.*\n.*later +measure how the old version does[\s\S]*later +give the site's users the new version/,
    );
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH });
    const { steps } = await lab.json("switch");
    expect(steps).toContainEqual(
      expect.objectContaining({ step: "switch/warm", result: { asked: expect.any(Number) } }),
    );
    expect(steps).toContainEqual(
      expect.objectContaining({
        step: "switch/watch",
        result: expect.objectContaining({ verdict: "healthy", failed: 0 }),
      }),
    );
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, persisted: AFTER_SWITCH });
    expect(mailing()).toEqual(["web1"]);
    expect((await lab.run("plan")).stdout).toMatch(/^switch: 0 of \d steps to do/m);
    expect((await lab.run("rollback", "--dry-run")).stdout).toContain(BACK);
    const told = (await lab.run("rollback")).stderr;
    expect(told).toContain(`started: ${BACK}\ndone: ${BACK}`);
    expect(told).toMatch(
      /done: turn mailer off on .*web1\n[\s\S]*done: turn mailer on again on web1's live machine/,
    );
    expect(told).not.toContain("give the site's users the new version");
    const audit = join(lab.folder, "audit.md");
    expect((await lab.run("status", "--audit", audit)).stdout).toMatch(new RegExp(`^done +${BACK}`, "m"));
    expect(readFileSync(audit, "utf8")).toMatch(new RegExp(`begins: ${BACK}\\.\\n.* done: ${BACK}\\n`));
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    expect(mailing()).toEqual(["live1"]);
    const report = await users.more(100, await users.report());
    expect(report).toMatchObject({ failed: 0, mixed: 0, lostSessions: 0, connections: 8, mostChanges: 2 });
  });

  it("is watched, and led back, on a disk that is full from the moment of the switch", async () => {
    const { home } = lab.doppel;
    const command = [
      process.execPath,
      join(packageRoot, "fixtures/farm/router-command.js"),
      lab.at("edge.json"),
    ];
    lab.write("edge.json", JSON.stringify({ routing: BEFORE_SWITCH }));
    const fill = `dd if=/dev/zero of=${home}/ballast bs=4096 2>/dev/null; true`;
    lab.write("edge", `#!/bin/sh\n${command.join(" ")} "$1" || exit\n[ "$1" != switch ] || { ${fill}; }\n`);
    await using _ = SmallDisk.mount(home);
    describeFarm(WATCH, { ssh: "old-web1" }, [
      { kind: "command", name: "edge", command: ["sh", lab.at("edge")] },
    ]);
    await check();
    await using users = new Users(haproxy.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    const { steps } = await lab.json("switch");
    expect(existsSync(join(home, "ballast"))).toBe(true);
    const result = expect.objectContaining({ verdict: "healthy" });
    expect(steps).toContainEqual(expect.objectContaining({ step: "switch/watch", result }));
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH });
    await lab.json("rollback");
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH });
    expect(JSON.parse(readFileSync(lab.at("edge.json"), "utf8"))).toMatchObject({ routing: BEFORE_SWITCH });
    describeFarm();
  });

  it("goes on after a kill behind the switch: the watch is compared with what was measured before it", async () => {
    await check();
    await using users = new Users(haproxy.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    const { child, ended } = lab.doppel.start("farm", "switch", lab.file);
    await expect
      .poll(async () => (await router.probe()).runtime, { timeout: 60_000, interval: 10 })
      .toEqual(AFTER_SWITCH);
    child.kill("SIGKILL");
    await ended;
    expect(mailing()).toEqual(["live1"]);
    const { steps } = (await lab.json("resume")) as {
      steps: { step: string; result: { requests?: number } }[];
    };
    const baseline = steps.find(({ step }) => step === "switch/baseline");
    expect(baseline?.result.requests).toBeGreaterThan(0);
    expect(mailing()).toEqual(["web1"]);
    expect(await lab.json("status")).toMatchObject({ unfinished: null });
    await lab.json("rollback");
    expect((await users.report()).failed).toBe(0);
  });

  it("is led back by itself when the new version fails, and its users' failed requests are counted (exit 1)", async () => {
    describeFarm({ watch: "30s", drain: "1s" });
    await check();
    await using users = new Users(haproxy.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    const switching = lab.doppel.start("farm", "switch", lab.file);
    await expect
      .poll(async () => (await router.probe()).runtime, { timeout: 60_000, interval: 20 })
      .toEqual(AFTER_SWITCH);
    await users.more(100, await users.report());
    await servers[1]?.control({ status: 500 });
    const { code, stderr } = await switching.ended;
    await servers[1]?.control({ status: 200 });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /the new version failed after [\d.]+ s, users have the old one again: .* \d+ requests failed \[switched-back\]/,
    );
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    expect(mailing()).toEqual(["live1"]);
    const failed = (await users.report()).failed;
    process.stderr.write(`${failed} failed requests until users had the old version again\n`);
    expect(failed).toBeGreaterThan(0);
  });

  it("is not switched when the new version has begun to fail since it was checked: users notice nothing (exit 3)", async () => {
    describeFarm();
    await check();
    await using users = new Users(haproxy.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    await servers[1]?.control({ status: 500 });
    const { code, stderr } = await lab.run("switch");
    await servers[1]?.control({ status: 200 });
    expect(code).toBe(3);
    expect(stderr).toMatch(
      /the new version fails just before the switch: \/: status 500; users still have the old one \[new-version-fails\]/,
    );
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    expect(mailing()).toEqual(["live1"]);
    expect(await users.report()).toMatchObject({ failed: 0, mostChanges: 0 });
  });

  it("is not switched when the way back cannot be rehearsed: a map that HAProxy would not keep (exit 3)", async () => {
    describeFarm();
    await check();
    await using users = new Users(haproxy.port, SITE.live, 4, { paceMs: 5 });
    await users.more(100);
    const { map } = haproxy.config;
    const before = haproxy.mapFile;
    // Nothing can be renamed over a file that is mounted by itself.
    await must("mount", "--bind", map, map);
    const { code, stderr } = await lab.run("switch").finally(() => must("umount", map));
    expect({ code, stderr }).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(
        /the way back could not be rehearsed with the shadow address: .*EBUSY.*; users still have the old version \[way-back-fails\]/,
      ),
    });
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    expect(haproxy.mapFile).toBe(before);
    expect(await users.report()).toMatchObject({ failed: 0, mostChanges: 0 });
  });

  it("is led back at once when its users would not get the new version at the site's own address (exit 1)", async () => {
    const at = (port = 0) => ({ connect: `127.0.0.1:${port}` });
    // Somebody has put another router before those of the file.
    const sites = {
      live: { url: `http://${SITE.live}`, ...at(servers[0]?.port) },
      shadow: { url: `http://${SITE.shadow}`, ...at(haproxy.port) },
    };
    describeFarm(WATCH, { ssh: "old-web1" }, [], {
      sites,
      checks: [{ kind: "http", name: "front", contains: "2" }],
    });
    await check();
    const { code, stderr } = await lab.run("switch");
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(
        "the new version fails at the site's own address, users have the old one again: front: status 200, but the body lacks '2' [switched-back]",
      ),
    });
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    expect(mailing()).toEqual(["live1"]);
  });

  it("is not switched when nothing tells how to turn off what may run on one side only", async () => {
    describeFarm(WATCH, {});
    await check();
    const { code, stderr } = await lab.run("switch");
    expect(code).toBe(3);
    expect(stderr).toContain("web1 has no live.ssh");
  });

  it("is upgraded by the example of a pipeline, which keeps the evidence", async () => {
    describeFarm();
    const results = join(lab.folder, "results");
    const { code, stderr } = await runCommand(join(packageRoot, "docs/examples/upgrade.sh"), [lab.file], {
      PATH: `${packageRoot}/bin:${process.env.PATH}`,
      DOPPEL_HOME: lab.doppel.home,
      RESULTS: results,
    });
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, persisted: AFTER_SWITCH });
    expect(readFileSync(join(results, "audit.md"), "utf8")).toContain(
      "begins: give the site's users the new version",
    );
    expect(readFileSync(join(results, "checks.xml"), "utf8")).toContain('failures="0"');
    await lab.json("rollback");
  });

  it("is upgraded by the jobs of the other example, whose steps are run as GitHub's runner does", async () => {
    describeFarm();
    const { jobs } = parse(readFileSync(join(packageRoot, "docs/examples/upgrade.yml"), "utf8")) as Workflow;
    const steps = ["shadows", "switch"].flatMap((job) => jobs[job]?.steps ?? []);
    // No registry is here, and nobody cancels it.
    const lines = steps.flatMap(({ run, if: when }) => (run && when !== "cancelled()" ? [run] : []));
    expect(lines[0]).toBe('doppel pull "$IMAGE"');
    const script = ['cd "$FOLDER"', ...lines.slice(1)].join("\n");
    const { code, stderr } = await runCommand("bash", ["-e", "-c", script], {
      PATH: `${packageRoot}/bin:${process.env.PATH}`,
      DOPPEL_HOME: lab.doppel.home,
      ...{ FOLDER: lab.folder, FARM: "farm.yaml", DATABASES: "" },
    });
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, persisted: AFTER_SWITCH });
    expect(readFileSync(join(lab.folder, "checks.xml"), "utf8")).toContain('failures="0"');
    expect(readFileSync(join(lab.folder, "audit.md"), "utf8")).toContain("begins: watch the new version");
    await lab.json("rollback");
  });

  it("is cleaned when the user says so, and not before the switch: nothing leads to the old version, and nothing back to it", async () => {
    describeFarm();
    const early = await lab.run("clean", "--yes");
    expect(early).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("users have the new version: haproxy: live → old, shadow → new"),
    });
    await check();
    const tunnel = await openTunnel(haproxy.port, SITE.live);
    const inFlight = "has 1 request or tunnel";
    expect((await lab.run("switch")).stderr).toContain(`haproxy still ${inFlight} on the old version: `);
    await using users = new Users(haproxy.port, SITE.live, 4, { paceMs: 5 });
    expect((await lab.run("clean", "--dry-run")).stdout).toMatch(
      /to do +lead both.*\n.*later +leave the old machine of web1 at 127.0.0.1 as it is: only detached/,
    );
    // Nobody at a terminal: it is not asked for, and not taken for granted.
    const { code, stderr } = await lab.doppel.runWithoutTerminal("farm", "clean", lab.file);
    expect({ code, stderr }).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("[not-confirmed] - without a terminal say --yes"),
    });
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH });
    const refused = await lab.run("clean", "--yes");
    expect(refused.code).toBe(3);
    expect(refused.stderr).toContain(
      `haproxy ${inFlight} in flight there [gate-closed] - the steps before it are done`,
    );
    tunnel.destroy();
    await lab.json("resume");
    expect(await router.probe()).toMatchObject({ runtime: WITHOUT_OLD, persisted: WITHOUT_OLD });
    expect(await lab.run("rollback")).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("'doppel farm clean' has removed it [gate-closed]"),
    });
    expect(await users.more(50)).toMatchObject({ failed: 0, versions: { "2": expect.anything() } });
  });
});
