import { describe, expect, it } from "vitest";
import { parseFilters } from "../../../src/store/filter.ts";

const NOW = new Date("2026-11-24T12:00:00Z");
const web = {
  name: "site/web1",
  tag: "monday",
  host: "web1",
  os: "Debian GNU/Linux 12 (bookworm)",
  grade: "frozen",
  digest: `sha256:${"a".repeat(64)}`,
  parent: null,
  created: "2026-11-16T12:00:00Z",
  boots: "yes, virtio-blk, BIOS, 2026-11-20",
  labels: { team: "web", "site/floor": "" },
  revoked: false,
};

describe("filters of a list of images", () => {
  it.each([
    ["host=web1", true],
    ["host=web", false],
    ["host=WEB*", true],
    ["host=w.b1", false],
    ["os=debian", true],
    ["os=fedora", false],
    ["tag!=latest", true],
    ["tag!=monday", false],
    ["name=site/*", true],
    ["boots=yes", true],
    ["boots=untested", false],
    ["captured>7d", true],
    ["captured<7d", false],
    ["captured<200h", true],
    ["parent!=*", false],
    ["label.team=w*", true],
    ["label.team=db", false],
    ["label.site/floor=*", true],
    ["label.owner=*", false],
    ["label.owner!=*", true],
    ["label.toString=*", false],
    ["revoked=no", true],
  ])("%s", (text, expected) => {
    expect(parseFilters([text])(web, NOW)).toBe(expected);
  });

  it("must all be met", () => {
    expect(parseFilters(["host=web1", "os=fedora"])(web, NOW)).toBe(false);
    expect(parseFilters([])(web, NOW)).toBe(true);
  });

  it.each(["host", "colour=red", "captured=7d", "captured>week", "host>db1", "=x", "constructor=x"])(
    "that is none is refused: %s",
    (text) => {
      expect(() => parseFilters([text])).toThrow(expect.objectContaining({ code: "usage", exitCode: 2 }));
    },
  );
});
