import { describe, expect, test } from "vitest";
import { formatTarget, parseTarget, type Target } from "../../../src/ssh/target.ts";

const GOOD: [string, Target][] = [
  ["box", { host: "box" }],
  ["root@box", { host: "box", user: "root" }],
  ["root@box:2222", { host: "box", user: "root", port: 2222 }],
  ["10.0.0.7:22", { host: "10.0.0.7", port: 22 }],
  ["::1", { host: "::1" }],
  ["[::1]:2222", { host: "::1", port: 2222 }],
  ["me@fe80::1%eth0", { host: "fe80::1%eth0", user: "me" }],
  ["user@domain@box", { host: "box", user: "user@domain" }],
  ["my_alias-1.x", { host: "my_alias-1.x" }],
];

test.each(GOOD)("%s", (text, target) => {
  expect(parseTarget(text)).toEqual(target);
  expect(parseTarget(formatTarget(target))).toEqual(target);
});

describe("nonsense is refused as usage", () => {
  const bad = [
    "",
    "@box",
    "root@",
    "-oProxyCommand=x",
    "root@-box",
    "-l@box",
    "a b",
    "box\n",
    "box\0",
    "a/b",
    "a;b",
  ];
  const badPorts = [
    "box:",
    "box:0",
    "box:65536",
    "box:22x",
    "[::1]:x",
    "[::1",
    "::1]:22",
    "[::1]22",
    "box:-1",
  ];
  test.each([...bad, ...badPorts, "$(id)", "`id`", "\u001b[2J"])("%j", (text) => {
    expect(() => parseTarget(text)).toThrow(expect.objectContaining({ code: "usage", exitCode: 2 }));
  });
});
