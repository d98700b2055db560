import { request } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { openTunnel, Users, WebServer } from "../../fixtures/farm/web.ts";
import {
  AFTER_SWITCH,
  askFromOutside,
  BEFORE_SWITCH,
  canaryRouting,
  changeRouting,
  drainSide,
  measureBaseline,
  openRouter,
  watchSwitch,
} from "../../src/farm/routers/index.ts";
import type { Router } from "../../src/farm/routers/router.ts";

const SHORT = { windowMs: 600, intervalMs: 100 };

describe.skipIf(!Haproxy.available() && !process.env.CI)("a switched site", () => {
  let servers: WebServer[];
  let haproxy: Haproxy;
  let router: Router;

  beforeEach(async () => {
    servers = await Promise.all(["1", "2"].map((version) => WebServer.start(version)));
    const [a = 0, b = 0] = servers.map(({ port }) => port);
    haproxy = await Haproxy.start({ old: [a], new: [b] });
    router = await openRouter(haproxy.config, SITE);
  });

  afterEach(async () => {
    await haproxy?.[Symbol.asyncDispose]();
    await Promise.all((servers ?? []).map((server) => server[Symbol.asyncDispose]()));
  });

  const switchOver = () => changeRouting([router], { from: BEFORE_SWITCH, to: AFTER_SWITCH });
  const switchBack = async () => {
    await changeRouting([router], { from: AFTER_SWITCH, to: BEFORE_SWITCH });
  };

  async function watch(windowMs: number, during: () => unknown = () => {}) {
    await using users = new Users(haproxy.port, SITE.live, 4);
    await users.more(100);
    const baseline = await measureBaseline([router], SHORT);
    await switchOver();
    let mended = 0;
    const watched = watchSwitch([router], {
      baseline,
      windowMs,
      intervalMs: 100,
      limits: { overMs: 1000 },
      undo: switchBack,
      mend: async () => {
        mended++;
        await router.reconcile(AFTER_SWITCH, 5000);
      },
    });
    await during();
    const result = await watched;
    return { result, mended, baseline, report: await users.report() };
  }

  it("keeps the new version when it does as well as the old one", async () => {
    const { result, baseline, report } = await watch(1500);
    expect(baseline).toMatchObject({ errorRate: 0, clientErrorRate: 0 });
    expect(baseline.requests).toBeGreaterThan(50);
    expect(result).toMatchObject({ undone: false, mended: 0, errors: 0, verdict: { is: "healthy" } });
    expect(result.requests).toBeGreaterThan(50);
    expect(report.failures).toEqual([]);
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH });
  });

  it("goes back to the old version when the new one begins to fail", async () => {
    const { result, report } = await watch(20_000, async () => {
      await expect.poll(async () => (await router.statistics()).sides.new.requests).toBeGreaterThan(50);
      await servers[1]?.control({ status: 500 });
    });
    expect(result).toMatchObject({ undone: true, verdict: { is: "failing" } });
    expect(result.verdict.because).toMatch(/% of \d+ requests failed, 2\.0 % are allowed/);
    expect(result.watchedMs).toBeLessThan(10_000);
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH, persisted: BEFORE_SWITCH });
    process.stderr.write(
      `switched back ${result.watchedMs.toFixed(0)} ms after the switch, ${report.failed} failed requests\n`,
    );
    expect(report.failed).toBeGreaterThan(0);
    expect(result.evidence.at(-1)?.errors).toBeGreaterThan(0);
  });

  it("goes back when the new version is slow", async () => {
    const { result } = await watch(30_000, () => servers[1]?.control({ delayMs: 800 }));
    expect(result).toMatchObject({ undone: true, verdict: { is: "failing" } });
    expect(result.verdict.because).toMatch(/responses take \d+ ms on average/);
  });

  it("is not fooled by counters that begin anew, and mends a router whose map was lost", async () => {
    const { result, mended } = await watch(3000, async () => {
      await haproxy.reload();
      await haproxy.ask(`set map ${haproxy.config.map} ${SITE.live} app-old`);
    });
    expect(result).toMatchObject({ undone: false, errors: 0, verdict: { is: "healthy" } });
    expect(mended).toBeGreaterThan(0);
    expect(await router.probe()).toMatchObject({ runtime: AFTER_SWITCH, agree: true });
  });

  it("tells that a router is gone, and does nothing about it", async () => {
    await switchOver();
    await haproxy.kill();
    const baseline = { requests: 0, errorRate: 0, clientErrorRate: 0 };
    const never = () => Promise.reject(new Error("must not be called"));
    const options = { baseline, ...SHORT, limits: { goneMs: 200 }, undo: never, mend: never };
    const result = await watchSwitch([router], options);
    expect(result).toMatchObject({ undone: false, verdict: { is: "gone" } });
    expect(result.verdict.because).toMatch(/^haproxy: no answer for/);
  });

  it("lets tunnels and requests in flight end on the old version, and tells how many there are", async () => {
    const tunnel = await openTunnel(haproxy.port, SITE.live);
    const slow = ask({ path: "/slow?ms=700" });
    await expect.poll(async () => (await router.statistics()).sides.old.inFlight).toBe(2);
    await switchOver();
    const early = await drainSide([router], "old", { timeoutMs: 0 });
    expect(early).toMatchObject({ drained: false, remaining: [{ router: "haproxy", inFlight: 2 }] });
    expect((await slow).version).toBe("1");
    tunnel.write("still there?");
    expect(String(await new Promise((resolve) => tunnel.once("data", resolve)))).toBe("still there?");
    tunnel.destroy();
    expect(await drainSide([router], "old", { timeoutMs: 5000 })).toMatchObject({ drained: true });
  });

  it("can be tried by some clients first, each of them always with the same version", async () => {
    const addresses = Array.from({ length: 150 }, (_, at) => `127.0.1.${at + 1}`);
    const versions = async () => {
      const answers = await Promise.all(addresses.map((localAddress) => ask({ localAddress })));
      return answers.map(({ version }) => version);
    };
    const share = (all: (string | undefined)[]) =>
      all.filter((version) => version === "2").length / all.length;
    await changeRouting([router], { from: BEFORE_SWITCH, to: canaryRouting(20) });
    const first = await versions();
    expect(share(first)).toBeGreaterThan(0.08);
    expect(share(first)).toBeLessThan(0.35);
    expect(await versions()).toEqual(first);
    // The cookie tells a client's bucket, wherever it comes from next.
    const { cookie, version } = await ask({ localAddress: "127.0.1.1" });
    for (const localAddress of addresses.slice(0, 20)) {
      expect((await ask({ localAddress, headers: { cookie } })).version).toBe(version);
    }
    expect((await ask({ headers: { cookie: "doppel_bucket=19" } })).version).toBe("2");
    expect((await ask({ headers: { cookie: "doppel_bucket=20" } })).version).toBe("1");
    // A reload keeps it, and more clients do not take the new version from those who have it.
    await haproxy.reload();
    await changeRouting([router], { from: canaryRouting(20), to: canaryRouting(50) });
    const second = await versions();
    expect(second.filter((one, at) => first[at] === "2" && one !== "2")).toEqual([]);
    expect(share(second)).toBeGreaterThan(share(first));
    expect(await router.probe()).toMatchObject({ runtime: canaryRouting(50), agree: true });
    await changeRouting([router], { from: canaryRouting(50), to: AFTER_SWITCH });
    expect(share(await versions())).toBe(1);
    await switchBack();
    expect(share(await versions())).toBe(0);
  });

  it("is seen from outside, at both addresses", async () => {
    const look = async (host: string) =>
      await askFromOutside({
        url: `http://${host}/`,
        address: `127.0.0.1:${haproxy.port}`,
        version: { body: "^(\\d+)\n" },
      });
    expect([(await look(SITE.live)).version, (await look(SITE.shadow)).version]).toEqual(["1", "2"]);
    await switchOver();
    expect([(await look(SITE.live)).version, (await look(SITE.shadow)).version]).toEqual(["2", "1"]);
    expect((await look("unknown.example.org")).status).toBe(503);
    await haproxy.kill();
    await expect(look(SITE.live)).rejects.toMatchObject({ code: "outside-unreachable" });
  });

  interface Asked {
    path?: string;
    localAddress?: string;
    headers?: Record<string, string>;
  }

  function ask({ path = "/", localAddress, headers }: Asked): Promise<{ version?: string; cookie: string }> {
    const options = { port: haproxy.port, path, agent: false, headers: { host: SITE.live, ...headers } };
    return new Promise((resolve, reject) => {
      request({ ...options, ...(localAddress ? { localAddress } : {}) }, (response) => {
        const cookie = (response.headers["set-cookie"] ?? []).map((one) => one.split(";")[0]).join("; ");
        response
          .resume()
          .once("end", () => resolve({ version: String(response.headers["x-version"]), cookie }));
      })
        .once("error", reject)
        .end();
    });
  }
});
