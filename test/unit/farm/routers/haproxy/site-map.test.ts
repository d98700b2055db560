import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { payloads } from "../../../../../src/farm/routers/haproxy/runtime-map.ts";
import {
  editMapFile,
  parseMapFile,
  routingOf,
  withRouting,
} from "../../../../../src/farm/routers/haproxy/site-map.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, canaryRouting } from "../../../../../src/farm/routers/routing.ts";

const SITE = { live: "www.example.org", shadow: "next.example.org" };
const BACKENDS = { old: "app-old", new: "app-new" };
const ROUTINGS = [BEFORE_SWITCH, AFTER_SWITCH, canaryRouting(5), canaryRouting(99)];

describe("a map file", () => {
  it("keeps its comments and the lines of other sites", () => {
    const text =
      "# ours\nother.org x\nwww.example.org app-old\n\n# more\nnext.example.org app-new\nlast.org y z\n";
    expect(editMapFile(text, AFTER_SWITCH, SITE, BACKENDS)).toBe(
      "# ours\nother.org x\nwww.example.org app-new\nnext.example.org app-old\n\n# more\nlast.org y z\n",
    );
  });

  it("gets lines that it did not have, and loses those of a canary that ended", () => {
    const text = editMapFile("", canaryRouting(5), SITE, BACKENDS);
    expect(text).toBe(
      "www.example.org app-old\nnext.example.org app-new\ncanary/www.example.org 5:app-new\n",
    );
    expect(editMapFile(text, BEFORE_SWITCH, SITE, BACKENDS)).toBe(
      "www.example.org app-old\nnext.example.org app-new\n",
    );
  });

  it("says after an edit what was wanted, and the same of all other keys", () => {
    const word = fc.stringMatching(/^[a-z][a-z.]{0,12}$/);
    const line = fc.oneof(
      fc.tuple(word, word).map(([key, value]) => `${key} ${value}`),
      fc.constantFrom("# comment", "", "  ", "www.example.org app-x", "next.example.org\tapp-old"),
    );
    const others = (text: string) =>
      parseMapFile(text).filter(({ key }) => !key.endsWith(SITE.live) && key !== SITE.shadow);
    fc.assert(
      fc.property(fc.array(line), fc.constantFrom(...ROUTINGS), (lines, to) => {
        const text = lines.join("\n");
        const edited = editMapFile(text, to, SITE, BACKENDS);
        expect(routingOf(parseMapFile(edited), SITE, BACKENDS)).toEqual(to);
        expect(others(edited)).toEqual(others(text));
        expect(editMapFile(edited, to, SITE, BACKENDS)).toBe(edited);
        expect(routingOf(withRouting(parseMapFile(text), to, SITE, BACKENDS), SITE, BACKENDS)).toEqual(to);
      }),
    );
  });

  it("tells what leads elsewhere, and to nothing", () => {
    const entries = parseMapFile("www.example.org app-third\n");
    expect(routingOf(entries, SITE, BACKENDS)).toEqual({
      live: "other:app-third",
      shadow: "none",
      canaryPercent: 0,
    });
  });
});

it("a large map goes over in parts that fit HAProxy's buffer", () => {
  const entries = Array.from({ length: 3000 }, (_, at) => ({ key: `host${at}.example.org`, value: "app" }));
  const parts = payloads(entries);
  expect(parts.join("")).toBe(entries.map(({ key, value }) => `${key} ${value}\n`).join(""));
  expect(Math.max(...parts.map((part) => part.length))).toBeLessThanOrEqual(8192);
});
