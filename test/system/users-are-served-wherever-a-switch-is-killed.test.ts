import { existsSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { Users, WebServer } from "../../fixtures/farm/web.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, openRouter } from "../../src/farm/routers/index.ts";
import type { Router } from "../../src/farm/routers/router.ts";
import { possible } from "./doppel.ts";
import { FarmLab, sshSettings } from "./farm-lab.ts";
import { Operator } from "./farm-operator.ts";

describe.skipIf(!possible || !Haproxy.available())("users of a farm", () => {
  let lab: FarmLab;
  let servers: WebServer[];
  let haproxy: Haproxy;
  let router: Router;
  let operator: Operator;
  let users: Users;

  beforeAll(async () => {
    // Both machines are this one and differ by their sshd's port. The live one is no box of the farm.
    lab = await FarmLab.start("web1", "live1");
    operator = new Operator(lab);
    servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
    const [old = 0, fresh = 0] = servers.map(({ port }) => port);
    haproxy = await Haproxy.start({ old: [old], new: [fresh] });
    router = await openRouter(haproxy.config, SITE);
    const at = { connect: `127.0.0.1:${haproxy.port}` };
    lab.writeSshConfig("old-web1", "live1");
    writeFileSync(mailerOf("live1"), "");
    const mailer = `${lab.folder}/mailer-$(echo $SSH_CONNECTION | cut -d" " -f4)`;
    lab.describe({
      sites: {
        live: { url: `http://${SITE.live}`, ...at },
        shadow: { url: `http://${SITE.shadow}`, ...at },
      },
      routers: [JSON.parse(JSON.stringify(haproxy.config))],
      ssh: { config: "ssh_config" },
      boxes: [
        {
          ...{ kind: "existing", name: "web1" },
          live: { address: "127.0.0.1", port: old, ssh: "old-web1" },
          shadow: { address: "127.0.0.1", port: fresh, ssh: sshSettings(lab.box("web1").sshd) },
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
      checks: [{ kind: "http", name: "front", contains: "2" }],
      switch: { watch: "250ms", drain: "2s" },
    });
    await operator.run("check");
    users = new Users(haproxy.port, SITE.live, 4, { paceMs: 100 });
  });

  afterAll(async () => {
    await users?.[Symbol.asyncDispose]();
    await operator?.[Symbol.asyncDispose]();
    await haproxy?.[Symbol.asyncDispose]();
    for (const server of servers ?? []) await server[Symbol.asyncDispose]();
    await lab?.[Symbol.asyncDispose]();
  });

  const mailerOf = (box: string) => `${lab.folder}/mailer-${lab.box(box).sshd.port}`;

  /** Everything is on one side, now and after a restart of the router. */
  async function expectSide(side: "old" | "new", killed: string | undefined): Promise<void> {
    const routing = side === "old" ? BEFORE_SWITCH : AFTER_SWITCH;
    const { runtime, persisted } = await router.probe();
    const mailing = ["live1", "web1"].filter((box) => existsSync(mailerOf(box)));
    expect({ killed, runtime, persisted, mailing }).toEqual({
      ...{ killed, runtime: routing, persisted: routing },
      mailing: [side === "old" ? "live1" : "web1"],
    });
  }

  it("are served by one side, all of it, after a kill at each moment of a switch or a rollback", async () => {
    const { name } = haproxy.config;
    const moments = { switch: [] as string[], rollback: [] as string[] };
    for (let moment = 1, cut: string | undefined = ""; cut !== undefined; moment += 1) {
      cut = await operator.killedAt(moment, "switch");
      if (cut !== undefined) {
        moments.switch.push(cut);
        await operator.run("resume");
      }
      await expectSide("new", cut);

      const back = await operator.killedAt(moment, "rollback");
      if (back !== undefined) {
        moments.rollback.push(back);
        await operator.run(moment % 2 === 0 ? "resume" : "rollback");
      }
      await expectSide("old", back);

      if (cut === undefined) break;
      expect(await operator.killedAt(cut, "switch")).toBe(cut);
      await operator.run("rollback");
      await expectSide("old", cut);
    }
    const changed = ["prepared", "committed", "persisted", "verified"].map(
      (point) => `after ${name} has ${point}`,
    );
    expect(moments.switch).toEqual(
      expect.arrayContaining([
        ...["rehearsal", "routers", "outside", "watch", "drain"].map(
          (step) => `after step-started of switch/${step}`,
        ),
        ...changed,
      ]),
    );
    expect(moments.rollback).toEqual(expect.arrayContaining(changed));
    expect(await operator.unfinished()).toBeNull();
    process.stderr.write(
      `${moments.switch.length} moments of a switch, ${moments.rollback.length} of a rollback\n`,
    );
  });

  it("have noticed nothing of any of it", async () => {
    const report = await users.stop();
    process.stderr.write(`${report.requests} requests\n`);
    expect(report).toMatchObject({ failed: 0, mixed: 0, lostSessions: 0, askedAgain: 0, connections: 4 });
  });
});
