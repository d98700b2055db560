import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { DoppelError } from "../../../../src/errors.ts";
import { farmJsonSchema } from "../../../../src/farm/file/json-schema.ts";
import { parseFarm } from "../../../../src/farm/file/load.ts";
import type { YamlProblem } from "../../../../src/farm/file/positions.ts";

const GOOD = `
version: 1
name: shop
sites:
  live: { url: "https://shop.example" }
  shadow: { url: "https://next.shop.example", connect: "127.0.0.1:8443" }
routers:
  - { kind: command, name: edge, command: [/usr/local/bin/edge] }
image: { ref: "registry.example/base/web:12" }
resources: { memory: 2G, cpus: 2 }
boxes:
  - kind: libvirt
    name: web1
    connect: qemu+ssh://root@host1/system
    pool: images
    live: { address: 10.0.0.11 }
  - kind: existing
    name: web2
    shadow: { address: 10.0.0.22 }
off:
  - name: scheduler
    off: [systemctl, stop, cron]
    on: [systemctl, start, cron]
    probe: [systemctl, is-active, --quiet, cron]
databases:
  - engine: postgres
    name: orders
    url: { env: ORDERS_URL }
checks:
  - { kind: http, name: front, path: /, contains: shop }
  - { kind: sql, name: rows, database: orders, query: "SELECT 1", equals: "1" }
`;

function problemsOf(text: string): YamlProblem[] {
  try {
    parseFarm(text, "farm.yaml");
  } catch (error) {
    expect(error).toBeInstanceOf(DoppelError);
    expect(error).toMatchObject({ code: "farm-file-invalid", exitCode: 2 });
    return (error as DoppelError).details?.problems as YamlProblem[];
  }
  return [];
}

/** The file with one piece of it changed, and the line where that piece stands. */
function changed(from: string, to: string): { text: string; line: number } {
  expect(GOOD).toContain(from);
  return { text: GOOD.replace(from, to), line: GOOD.slice(0, GOOD.indexOf(from)).split("\n").length };
}

describe("a farm file", () => {
  it("is read with its units and defaults", () => {
    const farm = parseFarm(GOOD, "farm.yaml");
    expect(farm).toMatchObject({
      resources: { memory: 2 * 1024 ** 3 },
      gates: { evidence: 900_000 },
      servicePort: 80,
      parallel: 4,
    });
    expect(farm.boxes[0]).toMatchObject({ shadow: { networks: ["default"] } });
  });

  it.each([
    [
      "a key",
      "    live: { address",
      "    lives: { address",
      "there is no key lives here; did you mean live?",
    ],
    [
      "a kind",
      "kind: libvirt",
      "kind: libvrit",
      "must be one of libvirt, existing, not 'libvrit'; did you mean libvirt?",
    ],
    ["a size", "memory: 2G", "memory: 2 gigs", "a size has a number and a unit"],
    ["a check's box", "path: /,", "path: /, boxes: [web3],", "there is no box web3; did you mean web1?"],
    [
      "a check's database",
      "database: orders",
      "database: order",
      "there is no database order; did you mean orders?",
    ],
    ["a list of words", "off: [systemctl, stop, cron]", "off: systemctl stop cron", "a list of words"],
    ["what is missing", "{ address: 10.0.0.22 }", "{}", "boxes.1.shadow.address: is missing"],
    ["a twin", "name: web2", "name: web1", "there are two boxes of the name web1"],
  ])("that is wrong in %s is refused with its line", (_what, from, to, says) => {
    const { text, line } = changed(from, to);
    const [problem, ...others] = problemsOf(text);
    expect(problem?.message).toContain(says);
    expect(problem?.line).toBe(line);
    expect(others).toEqual([]);
  });

  it("names the column, and everything that is wrong, in the file's order", () => {
    const { text } = changed("version: 1", "version: 2");
    const problems = problemsOf(text.replace("kind: http", "kind: htpp"));
    expect(problems).toMatchObject([
      { line: 2, column: 10, message: "version: must be 1, not 2" },
      { column: 13, message: expect.stringContaining("did you mean http?") },
    ]);
  });

  it("cannot hold a secret, and the message does not repeat it", () => {
    const { text, line } = changed("{ env: ORDERS_URL }", "postgres://shop:hunter2@db1/orders");
    const problems = problemsOf(text);
    expect(problems).toMatchObject([{ line, message: expect.stringContaining("by reference only") }]);
    expect(JSON.stringify(problems)).not.toContain("hunter2");
  });

  it("that is no YAML is refused with its line", () => {
    expect(problemsOf("version: 1\nname: [shop\n")).toMatchObject([{ line: 3, column: 1 }]);
    expect(problemsOf("version: 1\nversion: 1\n")).toMatchObject([{ line: 2 }]);
  });

  it("that makes much of little is refused", () => {
    const bomb = ["a: &a [x, x, x, x, x, x, x, x, x]"];
    for (let i = 0; i < 9; i++) {
      const [from, to] = [String.fromCharCode(97 + i), String.fromCharCode(98 + i)];
      bomb.push(`${to}: &${to} [${Array(9).fill(`*${from}`).join(", ")}]`);
    }
    expect(problemsOf(bomb.join("\n"))).toMatchObject([{ message: expect.stringMatching(/alias/i) }]);
  });
});

describe("docs/farm.schema.json", () => {
  const published = JSON.parse(
    readFileSync(resolve(import.meta.dirname, "../../../../docs/farm.schema.json"), "utf8"),
  );

  it("is the schema that the command uses: doppel farm schema > docs/farm.schema.json", () => {
    expect(published).toEqual(farmJsonSchema());
  });

  it("says the same of a file as the command does, to another validator", () => {
    const validate = new Ajv2020({ strict: false, formats: { uri: true } }).compile(published);
    expect(validate(parse(GOOD))).toBe(true);
    for (const [from, to] of [
      ["kind: libvirt", "kind: libvrit"],
      ["memory: 2G", "memory: 2 gigs"],
      ["{ env: ORDERS_URL }", "postgres://shop:hunter2@db1/orders"],
      ["    live: { address", "    lives: { address"],
    ] as const)
      expect(validate(parse(changed(from, to).text)), to).toBe(false);
  });
});
