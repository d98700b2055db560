import { describe, expect, it } from "vitest";
import { readOnlyPath } from "../../../../src/farm/check/access-log.ts";
import { difference, median } from "../../../../src/farm/check/difference.ts";

const RULES = { ignore: ["csrf=\\w+"], latency: 2 };
const LIVE = { status: 200, body: "shop\ncsrf=aa11\nend", milliseconds: 40 };

describe("the difference between two answers", () => {
  it.each<[string, Partial<typeof LIVE>, string | undefined]>([
    ["nothing", {}, undefined],
    ["only what may differ", { body: "shop\ncsrf=bb22\nend" }, undefined],
    ["the status", { status: 500 }, "status 500 instead of 200"],
    ["a line", { body: "shop\ncsrf=bb22\nEnd" }, "line 3 of the body is 'End' instead of 'end'"],
    ["a line that is missing", { body: "shop\ncsrf=bb22" }, "line 3 of the body is missing instead of 'end'"],
    ["a line that is new", { body: "shop\ncsrf=bb22\nend\n" }, "the body has 4 lines instead of 3"],
    [
      "what steers a terminal",
      { body: "\u001b[2Jshop" },
      "line 1 of the body is '·[2Jshop' instead of 'shop'",
    ],
    ["the time", { milliseconds: 131 }, "131 ms instead of 40 ms"],
    ["a time that nobody notices", { milliseconds: 129 }, undefined],
  ])("is %s", (_, shadow, expected) => {
    expect(difference(LIVE, { ...LIVE, ...shadow }, RULES)).toBe(expected);
  });

  it("goes by the median time: one slow answer is none", () => {
    expect(median([9, 900, 10])).toBe(10);
  });
});

describe("a request that may be replayed", () => {
  it.each([
    ['10.0.0.1 - - [24/Nov/2026:12:00:00 +0000] "GET /items?id=7 HTTP/1.1" 200 512', "/items?id=7"],
    ['haproxy[1]: 10.0.0.1:5 [x] site app/web1 0/0/1/2/3 200 5 - - ---- "GET / HTTP/2.0"', "/"],
    ['10.0.0.1 - - [x] "POST /orders HTTP/1.1" 200 2', undefined],
    ['10.0.0.1 - - [x] "GET http://elsewhere.example/ HTTP/1.1" 400 0', undefined],
    ["no request at all", undefined],
  ])("is only a GET of a path: %s", (line, path) => {
    expect(readOnlyPath(line)).toBe(path);
  });
});
