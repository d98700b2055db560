import { readFileSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { possible } from "./doppel.ts";
import { FarmLab, sshSettings, startSite } from "./farm-lab.ts";
import { Operator } from "./farm-operator.ts";

const BOXES = ["web1", "web2"];

describe.skipIf(!possible)("pointing shadows to a database", () => {
  let lab: FarmLab;
  let site: Server;
  let operator: Operator;

  beforeAll(async () => {
    [lab, site] = await Promise.all([FarmLab.start(...BOXES), startSite(() => BOXES)]);
    operator = new Operator(lab);
    for (const box of BOXES) writeFileSync(pointerOf(box), "copy\n");
    const pointer = `${lab.folder}/uses-$(echo $SSH_CONNECTION | cut -d" " -f4)`;
    const use = (what: string) => ["sh", "-c", `echo ${what} > ${pointer}`];
    const { port } = site.address() as AddressInfo;
    const shadow = {
      url: "http://next.shop.test",
      connect: `127.0.0.1:${port}`,
      identify: { header: "X-Box" },
    };
    lab.describe({
      sites: { live: { url: "http://shop.test" }, shadow },
      boxes: lab.boxes.map(({ name, sshd }) => ({
        ...{ kind: "existing", name },
        shadow: { address: "127.0.0.1", port: sshd.port, ssh: sshSettings(sshd) },
      })),
      databases: [
        {
          ...{ engine: "commands", name: "ledger", commands: { check: ["true"], copy: ["true"] } },
          point: { live: use("live"), copy: use("copy"), probe: ["sh", "-c", `cat ${pointer}`] },
        },
      ],
    });
    await operator.run("databases copy");
  });

  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    site?.close();
    await lab?.[Symbol.asyncDispose]();
  });

  /** All shadows are this machine, and differ by their sshd's port. */
  const pointerOf = (box: string) => join(lab.folder, `uses-${lab.box(box).sshd.port}`);
  const used = () => BOXES.map((box) => readFileSync(pointerOf(box), "utf8").trim());
  const point = (to: string) => ["databases point", "ledger", "--to", to] as const;

  it("goes on by a resume, or the other way, after a kill at each entry of the journal; no shadow is in between", async () => {
    const moments: string[] = [];
    for (
      let moment = 1, last = 0, [from, to] = ["copy", "live"];
      last === 0;
      moment += 1, [from, to] = [to, from]
    ) {
      const killed = await operator.killedAt(moment, ...point(to));
      expect([killed, used().every((what) => ["live", "copy"].includes(what))]).toEqual([killed, true]);
      if (killed !== undefined) await operator.run("resume");
      expect([killed, used(), await operator.unfinished()]).toEqual([killed, [to, to], null]);
      const cut = await operator.killedAt(moment, ...point(from));
      // Not a resume: who changes his mind says where to.
      await operator.run(...point(to));
      expect([cut, used(), await operator.unfinished()]).toEqual([cut, [to, to], null]);
      if (killed === undefined && cut === undefined) last = moment;
      moments.push(...[killed, cut].filter((name) => name !== undefined));
    }
    for (const box of BOXES)
      for (const step of ["point", "pointed"])
        expect(moments).toContain(`after step-started of database/ledger/${step}/${box}`);
    process.stderr.write(`killed ${moments.length} times\n`);
  });
});
