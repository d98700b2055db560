import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { WebServer } from "../../fixtures/farm/web.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, changeRouting, openRouter } from "../../src/farm/routers/index.ts";
import type { Router } from "../../src/farm/routers/router.ts";

describe.skipIf(!Haproxy.available() && !process.env.CI)("two routers of one site", () => {
  let servers: WebServer[];
  let first: Haproxy;
  let second: Haproxy;
  let routers: Router[];
  const steps: string[] = [];

  beforeEach(async () => {
    steps.length = 0;
    servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
    const [a = 0, b = 0] = servers.map(({ port }) => port);
    first = await Haproxy.start({ old: [a], new: [b], name: "first" });
    second = await Haproxy.start({ old: [a], new: [b], name: "second" });
    routers = await Promise.all([first, second].map(({ config }) => openRouter(config, SITE)));
  });

  afterEach(async () => {
    await first?.[Symbol.asyncDispose]();
    await second?.[Symbol.asyncDispose]();
    await Promise.all((servers ?? []).map((server) => server[Symbol.asyncDispose]()));
  });

  const states = async () =>
    (await Promise.all(routers.map((router) => router.probe()))).map(({ runtime }) => runtime);
  const FORWARD = {
    from: BEFORE_SWITCH,
    to: AFTER_SWITCH,
    settleMs: 200,
    onStep: (step: object | string) => {
      steps.push(typeof step === "string" ? step : Object.values(step).flat().join(" "));
    },
  };
  /** Kills the second one when both are ready. */
  const killWhenPrepared = (then: () => unknown = () => {}) => {
    let prepared = 0;
    return async (_: string, point: string) => {
      if (point !== "prepared" || ++prepared < 2) return;
      await second.kill();
      then();
    };
  };

  it("are both switched", async () => {
    await changeRouting(routers, FORWARD);
    expect(await states()).toEqual([AFTER_SWITCH, AFTER_SWITCH]);
    expect(steps).toEqual(["prepare first second", "commit first second", "changed"]);
  });

  it("are both left alone when one cannot be prepared", async () => {
    await second.kill();
    await expect(changeRouting(routers, FORWARD)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    expect(steps).toEqual(["prepare first second", "abandon first", "refused"]);
    await second.launch();
    expect(await states()).toEqual([BEFORE_SWITCH, BEFORE_SWITCH]);
  });

  it("are both brought back when one dies in the middle", async () => {
    const change = changeRouting(routers, {
      ...FORWARD,
      repairMs: 200,
      onPoint: killWhenPrepared(),
      onStep: async (step) => {
        FORWARD.onStep(step);
        if (typeof step !== "string" && step.act === "restore") await second.launch();
      },
    });
    await expect(change).rejects.toMatchObject({ code: "routers-put-back" });
    expect(steps).toEqual([
      "prepare first second",
      "commit first second",
      "repair second",
      "restore first second",
      "put-back",
    ]);
    expect(await states()).toEqual([BEFORE_SWITCH, BEFORE_SWITCH]);
  });

  it("are both switched when the one that died comes back in time", async () => {
    let back: Promise<void> | undefined;
    const onPoint = killWhenPrepared(() => {
      back = second.launch();
    });
    await changeRouting(routers, { ...FORWARD, settleMs: 10_000, onPoint });
    await back;
    expect(await states()).toEqual([AFTER_SWITCH, AFTER_SWITCH]);
  });

  it("go back as far as they can: a dead one does not keep the users of the other", async () => {
    await changeRouting(routers, FORWARD);
    await second.kill();
    const back = changeRouting(routers, {
      ...FORWARD,
      from: AFTER_SWITCH,
      to: BEFORE_SWITCH,
      repairMs: 200,
    });
    await expect(back).rejects.toMatchObject({ code: "routers-disagree" });
    await expect(back).rejects.toThrow(/^second could be brought neither/);
    await second.launch();
    // Its map's file leads back already: it came up on the old side.
    expect(await states()).toEqual([BEFORE_SWITCH, BEFORE_SWITCH]);
  });
});
