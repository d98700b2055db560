import { describe, expect, it } from "vitest";
import {
  routerConfig,
  routerConfigOf,
  routersConfig,
  siteConfig,
} from "../../../../src/farm/routers/index.ts";
import { canaryRouting } from "../../../../src/farm/routers/routing.ts";

const HAPROXY = {
  kind: "haproxy",
  socket: "/run/haproxy/admin.sock",
  map: "/etc/haproxy/sites.map",
  backends: { old: "app-old", new: "app-new" },
};

describe("the routers of a farm file", () => {
  it("may be reached by a path or by a port", () => {
    for (const socket of ["/run/haproxy/admin.sock", "127.0.0.1:9999", "[::1]:9999"]) {
      expect(routerConfig.safeParse({ ...HAPROXY, socket }).success).toBe(true);
    }
    expect(routerConfig.safeParse({ ...HAPROXY, socket: "admin.sock" }).success).toBe(false);
  });

  it("have no words in them that mean something to the router", () => {
    for (const bad of ["a b", "a;shutdown", "a\nb", "#0", ""]) {
      expect(routerConfig.safeParse({ ...HAPROXY, map: bad }).success).toBe(false);
      expect(routerConfig.safeParse({ ...HAPROXY, backends: { old: bad, new: "x" } }).success).toBe(false);
      expect(siteConfig.safeParse({ live: bad, shadow: "next.example.org" }).success).toBe(false);
    }
    expect(siteConfig.safeParse({ live: "WWW.example.org", shadow: "n.example.org" }).success).toBe(false);
    expect(siteConfig.safeParse({ live: "www.example.org", shadow: "www.example.org" }).success).toBe(false);
    expect(routerConfig.safeParse({ ...HAPROXY, backends: { old: "a", new: "a" } }).success).toBe(false);
  });

  it("become what a router is opened with, or are refused", () => {
    const router = { ...HAPROXY, kind: "haproxy", name: "edge" } as const;
    expect(routerConfigOf(router)).toEqual({ ...HAPROXY, name: "edge" });
    expect(routerConfigOf({ kind: "command", name: "c", command: ["x"], timeout: 500 })).toMatchObject({
      timeoutMs: 500,
    });
    expect(() => routerConfigOf({ ...router, map: "/etc/my maps" })).toThrow(
      "the router edge: map: a path of letters, digits and _ . / -",
    );
    expect(() => routerConfigOf({ ...router, socket: "nowhere" })).toThrow(
      expect.objectContaining({ code: "router-config", exitCode: 2 }),
    );
  });

  it("have a name each", () => {
    expect(routersConfig.safeParse([HAPROXY, HAPROXY]).success).toBe(false);
    expect(routersConfig.safeParse([HAPROXY, { ...HAPROXY, name: "second" }]).success).toBe(true);
  });

  it("take shares of whole percents", () => {
    for (const percent of [-1, 100, 2.5, Number.NaN])
      expect(() => canaryRouting(percent)).toThrow(RangeError);
  });
});
