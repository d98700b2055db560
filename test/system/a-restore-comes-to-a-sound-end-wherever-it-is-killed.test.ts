import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DatabaseServer, databases, SERVERS, shop, sqlOf } from "./farm-databases.ts";
import { FarmLab } from "./farm-lab.ts";
import { Operator } from "./farm-operator.ts";

/** Rows that the database has before the restore, and the safety copy has not. */
const LATE = 3;
const RESTORE = ["databases restore", "orders", "--yes"] as const;
const UNDO = ["databases restore", "orders", "--undo", "--yes"] as const;

for (const { engine, start, possible } of SERVERS) {
  describe.runIf(possible)(`a restore of ${engine}`, () => {
    let server: DatabaseServer;
    let lab: FarmLab;
    let operator: Operator;
    let copied = 0;

    beforeAll(async () => {
      [server, lab] = await Promise.all([start(), FarmLab.start()]);
      operator = new Operator(lab);
      await shop(server, "orders");
      lab.write("orders-url", server.url("orders"));
      const kind = engine === "postgres" ? "postgres" : "mariadb";
      lab.describe({
        boxes: [{ kind: "existing", name: "web1", shadow: { address: "127.0.0.1" } }],
        databases: [{ engine: kind, name: "orders", url: { file: "orders-url" } }],
      });
      await operator.run("databases copy");
      copied = await rows();
      const sql = await sqlOf(server, "orders");
      for (let row = 0; row < LATE; row += 1) await sql("INSERT INTO accounts (email) VALUES ('late')");
      await sql.end();
    });

    afterAll(async () => {
      await operator?.[Symbol.asyncDispose]();
      await server?.[Symbol.asyncDispose]();
      await lab?.[Symbol.asyncDispose]();
    });

    const rows = async () => {
      const sql = await sqlOf(server, "orders");
      const counted = await sql("SELECT count(*) AS n FROM accounts");
      await sql.end();
      return Number(counted[0]?.n);
    };
    /** What kinds of databases there are. */
    const kinds = async () =>
      [
        ...new Set((await databases(server, "orders")).map((name) => name.replace(/_[0-9a-f]{6}$/, ""))),
      ].sort();

    it("is done by a resume after a kill at each of its moments, and so is its undoing", async () => {
      const moments: string[] = [];
      for (let moment = 1, last = 0; last === 0; moment += 1) {
        const restored = await operator.killedAt(moment, ...RESTORE);
        if (restored !== undefined) await operator.run("resume");
        expect([restored, await rows()]).toEqual([restored, copied]);
        const undone = await operator.killedAt(moment, ...UNDO);
        if (undone !== undefined) await operator.run("resume");
        expect([undone, await rows()]).toEqual([undone, copied + LATE]);
        if (restored === undefined && undone === undefined) last = moment;
        moments.push(...[restored, undone].filter((name) => name !== undefined));
      }
      expect(moments).toEqual(expect.arrayContaining(["after the dump was loaded", "after run-ended"]));
      expect(await kinds()).toEqual(["orders", "orders_aside", "orders_doppel_copy"]);
      process.stderr.write(`${engine}: killed ${moments.length} times\n`);
    });

    it("is taken back after a kill at each of its moments", async () => {
      // One that came to its end: at the first moments of the next there is nothing else to take back.
      await operator.run(...RESTORE);
      await operator.run(...UNDO);
      for (let moment = 1, killed: string | undefined = ""; killed !== undefined; moment += 1) {
        killed = await operator.killedAt(moment, ...RESTORE);
        await operator.run(...UNDO);
        expect([killed, await rows()]).toEqual([killed, copied + LATE]);
      }
      expect(await kinds()).toEqual(["orders", "orders_aside", "orders_doppel_copy"]);
    });

    it("leaves databases that are named with what is in them, and go when that is asked for; safety copies on their own word", async () => {
      expect(await operator.killedAt("after the dump was loaded", ...RESTORE)).toBeDefined();
      expect(await kinds()).toContain("orders_restored");
      const early = await lab.doppel.run("farm", "databases", "clean", lab.file, "--yes");
      expect(early.stderr).toMatch(
        /no restore of orders is unfinished: .* cut off: .*resume.*\[gate-closed\]/,
      );
      expect(early.code).toBe(3);
      // Another one, not a resume: what the first had loaded is of no use to anybody.
      expect((await operator.run(...RESTORE)).stderr).toMatch(
        /dropped orders_restored_[0-9a-f]{6}, which a restore that was cut off had loaded/,
      );
      expect(await kinds()).toEqual(["orders", "orders_aside", "orders_doppel_copy", "orders_kept"]);

      expect((await operator.run("status")).stdout).toMatch(
        /^orders: there is 1 safety copy \(.*\), the test copy, .*orders_kept_\w+ \(what orders was before the restore of 2.*'doppel farm databases clean' removes it$/m,
      );
      const names = (await databases(server, "orders_")).filter((name) => name !== "orders_doppel_copy");
      const planned = (await operator.run("databases clean", "--dry-run")).stdout;
      for (const name of names)
        expect(planned).toMatch(
          new RegExp(`to do +drop ${name}: what orders was (before|after) the restore of 2`),
        );
      expect(planned).toMatch(/to do +drop the test copy of orders/);
      expect(planned).not.toContain("remove the safety copy");
      const asked = await lab.doppel.runWithoutTerminal("farm", "databases", "clean", lab.file);
      expect(asked).toMatchObject({ code: 3, stderr: expect.stringContaining("[not-confirmed]") });
      expect(asked.stderr).toContain(`drop ${names.at(-1)}: `);

      // In the middle of it.
      expect(await operator.killedAt(8, "databases clean", "--yes")).toMatch(/step-/);
      await operator.run("resume");
      expect(await databases(server, "orders")).toEqual(["orders"]);
      expect(await rows()).toBe(copied);
      const undo = await lab.doppel.run(
        "farm",
        "databases",
        "restore",
        lab.file,
        "orders",
        "--undo",
        "--yes",
      );
      expect(undo).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("before its last restore, was dropped"),
      });

      const folder = join(lab.doppel.home, "farms", lab.name, "orders");
      expect(readdirSync(folder)).toHaveLength(1);
      const all = await operator.run("databases clean", "--safety-copies", "--yes");
      expect(all.stderr).toMatch(/done: remove the safety copy of orders of 2.*\.dump/);
      expect(readdirSync(folder)).toEqual([]);
      expect((await operator.run("status")).stdout).not.toContain("there is");
    });
  });
}
