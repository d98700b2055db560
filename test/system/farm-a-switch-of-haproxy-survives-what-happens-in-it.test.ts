import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { Users, WebServer } from "../../fixtures/farm/web.ts";
import { changeRouting } from "../../src/farm/routers/change-routing.ts";
import { HaproxyRouter } from "../../src/farm/routers/haproxy/router.ts";
import type { ChangePoint, Router } from "../../src/farm/routers/router.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, leadsBack, type Routing } from "../../src/farm/routers/routing.ts";

const DIRECTIONS: [string, Routing, Routing][] = [
  ["switch", BEFORE_SWITCH, AFTER_SWITCH],
  ["rollback", AFTER_SWITCH, BEFORE_SWITCH],
];
const POINTS: ChangePoint[] = ["prepared", "committed", "persisted"];

describe.skipIf(!Haproxy.available() && !process.env.CI)("a change of HAProxy's routing", () => {
  let servers: WebServer[];
  let haproxy: Haproxy;
  let router: HaproxyRouter;

  beforeEach(async () => {
    servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
    const [a = 0, b = 0] = servers.map(({ port }) => port);
    haproxy = await Haproxy.start({ old: [a], new: [b] });
    router = HaproxyRouter.open(haproxy.config, SITE);
  });

  afterEach(async () => {
    await haproxy?.[Symbol.asyncDispose]();
    await Promise.all((servers ?? []).map((server) => server[Symbol.asyncDispose]()));
  });

  async function codeOf(act: Promise<unknown>): Promise<string> {
    return await act.then(
      () => "done",
      (error: { code?: string; message: string }) => error.code ?? error.message,
    );
  }

  const faults: [string, () => Promise<void>][] = [
    ["killed and started again", () => haproxy.kill().then(() => haproxy.launch())],
    ["reloaded", () => haproxy.reload()],
  ];

  for (const [direction, from, to] of DIRECTIONS) {
    for (const [fault, happen] of faults) {
      it(`${direction}: ends right when HAProxy is ${fault} at any point`, async () => {
        for (const wanted of POINTS) {
          await router.reconcile(from, 5000);
          const passed: string[] = [];
          await changeRouting([router], {
            from,
            to,
            onPoint: async (_, point) => {
              passed.push(point);
              if (point === wanted) await happen();
            },
          });
          expect(passed).toContain(wanted);
          expect(await router.probe()).toMatchObject({ runtime: to, persisted: to, agree: true });
        }
      });
    }

    it(`${direction}: after the operator's process ended at any point, a reload leads to the old side and both ways can be gone`, async () => {
      for (const point of POINTS) {
        for (const end of [from, to]) {
          await router.reconcile(from, 5000);
          const died = changeRouting([router], {
            from,
            to,
            repairMs: 0,
            onPoint: (_, passed) => {
              if (passed === point) throw new Error("the process ends here");
            },
            onStep: (step) => {
              // What would be done about a failure is not done by a process that has ended.
              if (typeof step !== "string" && ["repair", "restore", "abandon"].includes(step.act))
                throw new Error("ended");
            },
          });
          expect(await codeOf(died)).not.toBe("done");
          const left = await router.probe();
          const half = point === (leadsBack(to) ? "persisted" : "committed");
          expect(left.agree).toBe(!half);
          if (half) {
            await haproxy.reload();
            expect((await router.probe()).runtime?.live).toBe("old");
          }
          await router.reconcile(end, 5000);
          expect(await router.probe()).toMatchObject({ runtime: end, persisted: end, agree: true });
        }
      }
    });
  }

  it("is given up, with the file as it was, when HAProxy is killed and stays away", async () => {
    const change = changeRouting([router], {
      from: BEFORE_SWITCH,
      to: AFTER_SWITCH,
      settleMs: 300,
      repairMs: 300,
      onPoint: (_, point) => (point === "prepared" ? haproxy.kill() : undefined),
    });
    expect(await codeOf(change)).toBe("routers-disagree");
    await haproxy.launch();
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, agree: true });
  });

  it("goes on while users send requests and HAProxy is reloaded at the same time", async () => {
    await using users = new Users(haproxy.port, SITE.live, 10);
    const before = await users.more(500);
    await changeRouting([router], {
      from: BEFORE_SWITCH,
      to: AFTER_SWITCH,
      onPoint: (_, point) => (point === "committed" ? haproxy.startReload() : undefined),
    });
    const after = await users.more(2000, before);
    await router.reconcile(AFTER_SWITCH, 5000);
    expect(after.failures).toEqual([]);
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, agree: true });
  });

  it("is refused before anything changes where it cannot end well", async () => {
    const changeWith = async (
      words: object,
      at: Router = HaproxyRouter.open({ ...haproxy.config, ...words }, SITE),
    ) => await codeOf(changeRouting([at], { from: BEFORE_SWITCH, to: AFTER_SWITCH }));
    const { folder, config } = haproxy;
    const { backends } = config;
    expect(await changeWith({ map: join(folder, "other.map") })).toBe("router-map-missing");
    expect(await changeWith({ backends: { ...backends, new: "app-missing" } })).toBe(
      "router-backend-missing",
    );
    expect(await changeWith({ socket: join(folder, "no.sock") })).toBe("ENOENT");
    expect(await changeWith({ mapFile: join(folder, "no.map") })).toBe("ENOENT");
    await haproxy.ask(`set map ${haproxy.config.map} ${SITE.live} app-third`);
    expect(await changeWith({})).toBe("router-changed");
    await haproxy.ask(`set map ${haproxy.config.map} ${SITE.live} app-old`);

    await servers[1]?.[Symbol.asyncDispose]();
    const serversUp = async () => (await router.statistics()).sides.new.serversUp;
    await expect.poll(serversUp, { timeout: 20_000 }).toBe(0);
    expect(await changeWith({})).toBe("router-backend-down");
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, agree: true });
    expect(readFileSync(haproxy.config.map, "utf8")).not.toContain("tmp");
  });

  it.skipIf(process.getuid?.() !== 0)(
    "a full disk keeps users from the new side, and not from the old one",
    async () => {
      const disk = join(haproxy.folder, "disk");
      mkdirSync(disk);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
      try {
        writeFileSync(join(disk, "sites.map"), haproxy.mapFile);
        renameSync(haproxy.config.map, `${haproxy.config.map}.was`);
        symlinkSync(join(disk, "sites.map"), haproxy.config.map);
        await router.reconcile(AFTER_SWITCH, 5000);
        fill(join(disk, "ballast"));
        const back = changeRouting([router], { from: AFTER_SWITCH, to: BEFORE_SWITCH });
        expect(await codeOf(back)).toBe("router-not-persistent");
        const state = await router.probe();
        expect(state).toMatchObject({ runtime: BEFORE_SWITCH, persisted: AFTER_SWITCH, agree: false });
        writeFileSync(join(disk, "ballast"), "");
        await router.reconcile(BEFORE_SWITCH, 5000);
        fill(join(disk, "ballast"));
        const forward = changeRouting([router], { from: BEFORE_SWITCH, to: AFTER_SWITCH });
        expect(await codeOf(forward)).toBe("ENOSPC");
        expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, agree: true });
      } finally {
        execFileSync("umount", ["--lazy", disk]);
      }
    },
  );
});

/** Writes until the file system is full. */
function fill(path: string): void {
  try {
    for (let bytes = 65_536; ; bytes += 65_536) writeFileSync(path, Buffer.alloc(bytes));
  } catch (error) {
    expect((error as { code?: string }).code).toBe("ENOSPC");
  }
}
