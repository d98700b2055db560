import { existsSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BEFORE_SWITCH } from "../../src/farm/routers/index.ts";
import { packageRoot, possible } from "./doppel.ts";
import { FarmLab, sshSettings, startSite } from "./farm-lab.ts";

const ROUTER = join(packageRoot, "fixtures/farm/router-command.js");

describe.skipIf(!possible)("a mailer that must run on one side only", () => {
  let lab: FarmLab;
  let site: Server;

  beforeAll(async () => {
    // The live machine is one more sshd: it is no box of the farm.
    [lab, site] = await Promise.all([FarmLab.start("web1", "live1"), startSite(() => ["web1"])]);
    lab.writeSshConfig("old-web1", "live1");
    lab.write("pointer", "copy\n");
    writeFileSync(join(lab.folder, "router.json"), JSON.stringify({ routing: BEFORE_SWITCH }));
    writeFileSync(mailerOf("live1"), "");
    describeFarm();
    expect((await lab.run("check")).code).toBe(0);
  });

  afterAll(async () => {
    site?.close();
    await lab?.[Symbol.asyncDispose]();
  });

  /** There while a machine sends mail; both machines are this one and differ by their sshd's port. */
  const mailerOf = (box: string) => join(lab.folder, `mailer-${lab.box(box).sshd.port}`);
  const shell = (script: string) => ["sh", "-c", script, "sh", lab.folder];
  const mailer = '"$1"/mailer-$(echo $SSH_CONNECTION | cut -d" " -f4)';

  function describeFarm(): void {
    const connect = `127.0.0.1:${(site.address() as AddressInfo).port}`;
    const { sshd } = lab.box("web1");
    lab.describe({
      sites: {
        live: { url: "http://shop.test", connect },
        shadow: { url: "http://next.shop.test", connect },
      },
      routers: [
        {
          ...{ kind: "command", name: "edge" },
          command: [process.execPath, ROUTER, join(lab.folder, "router.json")],
        },
      ],
      ssh: { config: "ssh_config" },
      boxes: [
        {
          ...{ kind: "existing", name: "web1", live: { address: "127.0.0.1", ssh: "old-web1" } },
          shadow: { address: "127.0.0.1", port: sshd.port, ssh: sshSettings(sshd) },
        },
      ],
      off: [
        {
          name: "mailer",
          off: shell(`rm -f ${mailer}`),
          on: shell(`touch ${mailer}`),
          probe: shell(`test -e ${mailer}`),
        },
      ],
      databases: [
        {
          ...{ engine: "commands", name: "ledger", commands: { check: ["true"] } },
          point: {
            live: shell('echo live > "$1/pointer"'),
            copy: shell('echo copy > "$1/pointer"'),
            probe: shell('cat "$1/pointer"'),
          },
        },
      ],
      switch: { watch: "0s", drain: "1s" },
    });
  }

  const point = () => lab.doppel.run("farm", "databases", "point", lab.file, "ledger", "--to", "live");
  const closed = {
    code: 3,
    stderr: expect.stringMatching(
      /only one side runs mailer: mailer runs on .*web1: 'doppel farm provision' keeps it off.*\[gate-closed\]/,
    ),
  };

  it("keeps a shadow off the live database while it runs there, too (exit 3), until provision has turned it off", async () => {
    writeFileSync(mailerOf("web1"), "");
    expect(await point()).toMatchObject(closed);
    expect((await lab.run("provision")).stderr).toMatch(/done: keep mailer off on .*web1/);
    expect([existsSync(mailerOf("web1")), existsSync(mailerOf("live1"))]).toEqual([false, true]);
    expect(await point()).toMatchObject({ code: 0 });
  });

  it("keeps a switch back when somebody has started it on a shadow since (exit 3); nobody is led anywhere", async () => {
    writeFileSync(mailerOf("web1"), "");
    expect((await lab.run("switch", "--dry-run")).stdout).toMatch(/gate CLOSED +only one side runs mailer/);
    expect(await lab.run("switch")).toMatchObject(closed);
    expect(existsSync(mailerOf("live1"))).toBe(true);
    rmSync(mailerOf("web1"));
    expect(await lab.run("switch")).toMatchObject({ code: 0 });
    expect([existsSync(mailerOf("web1")), existsSync(mailerOf("live1"))]).toEqual([true, false]);
    // Done: it runs on one side, the new one.
    expect((await lab.run("switch", "--dry-run")).stdout).toMatch(/gate open +only one side runs mailer/);
  });
});
