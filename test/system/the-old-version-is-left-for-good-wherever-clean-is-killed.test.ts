import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { Nginx } from "../../fixtures/farm/nginx.ts";
import { Users, WebServer } from "../../fixtures/farm/web.ts";
import { AFTER_SWITCH, changeRouting, openRouter, WITHOUT_OLD } from "../../src/farm/routers/index.ts";
import type { Router } from "../../src/farm/routers/router.ts";
import { possible } from "./doppel.ts";
import { FarmLab } from "./farm-lab.ts";
import { Operator } from "./farm-operator.ts";

const KINDS = [
  { kind: "haproxy", available: Haproxy.available, start: Haproxy.start },
  { kind: "nginx", available: Nginx.available, start: Nginx.start },
] as const;

for (const { kind, available, start } of KINDS) {
  describe.skipIf(!possible || !available())(`clean, behind ${kind}`, () => {
    let lab: FarmLab;
    let servers: WebServer[];
    let program: Haproxy | Nginx;
    let router: Router;
    let operator: Operator;

    beforeAll(async () => {
      lab = await FarmLab.start();
      operator = new Operator(lab);
      servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
      const [old = 0, fresh = 0] = servers.map(({ port }) => port);
      program = await start({ old: [old], new: [fresh] });
      router = await openRouter(program.config, SITE);
      const at = { connect: `127.0.0.1:${program.port}` };
      lab.write("ledger", "one\n");
      const copy = ["sh", "-c", `cp ${lab.folder}/ledger "\${DOPPEL_COPY_FILE:-${lab.folder}/test}"`];
      lab.describe({
        sites: {
          live: { url: `http://${SITE.live}`, ...at },
          shadow: { url: `http://${SITE.shadow}`, ...at },
        },
        routers: [JSON.parse(JSON.stringify(program.config))],
        boxes: [{ kind: "existing", name: "web1", shadow: { address: "127.0.0.1", port: fresh, ssh: {} } }],
        databases: [
          {
            ...{ engine: "commands", name: "ledger" },
            commands: { check: ["true"], copy, safetyCopy: copy, rehearse: ["true"] },
          },
        ],
        switch: { watch: "0s", drain: "2s" },
      });
      await operator.run("databases copy");
      await changeRouting([router], {
        from: (await router.probe()).runtime ?? AFTER_SWITCH,
        to: AFTER_SWITCH,
      });
    });

    afterAll(async () => {
      await operator?.[Symbol.asyncDispose]();
      await program?.[Symbol.asyncDispose]();
      for (const server of servers ?? []) await server[Symbol.asyncDispose]();
      await lab?.[Symbol.asyncDispose]();
    });

    it("goes on by a resume after a kill at each entry of the journal and point of the router's change; users have the new version all the time", async () => {
      await using users = new Users(program.port, SITE.live, 4, { paceMs: 20 });
      const plan = (await operator.run("clean", "--dry-run")).stdout;
      expect(plan).toMatch(/gate open +users have the new version/);
      const flights = `no router has a request in flight there${kind === "nginx" ? "; nginx does not tell" : ""}`;
      expect(plan).toContain(`gate open    nothing runs on the old version any more: ${flights}\n`);
      expect(plan).toMatch(
        /leave what was made of ledger as it is: 1 safety copy \(4 B\), the test copy \('databases clean' removes it\)/,
      );
      const moments: string[] = [];
      for (let moment = 1, killed: string | undefined = ""; killed !== undefined; moment += 1) {
        killed = await operator.killedAt(moment, "clean", "--yes");
        if (killed !== undefined) {
          moments.push(killed);
          await operator.run("resume");
        }
        const state = { runtime: WITHOUT_OLD, persisted: WITHOUT_OLD };
        expect([killed, await router.probe()]).toEqual([killed, expect.objectContaining(state)]);
        expect([killed, await operator.unfinished()]).toEqual([killed, null]);
        // As before it, for the next kill.
        if (killed !== undefined) await changeRouting([router], { from: WITHOUT_OLD, to: AFTER_SWITCH });
      }
      for (const moment of ["step-started of clean/routers", `${program.config.name} has committed`])
        expect(moments).toContain(`after ${moment}`);
      expect(await users.report()).toMatchObject({
        failed: 0,
        lostSessions: 0,
        versions: { 2: expect.anything() },
      });
      const folder = join(lab.doppel.home, "farms", lab.name, "ledger");
      expect(readdirSync(folder)).toHaveLength(1);
      expect(await lab.run("rollback")).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("'doppel farm clean' has removed it [gate-closed]"),
      });
      process.stderr.write(`${kind}: killed ${moments.length} times\n`);
    });
  });
}
