import { describe, expect, it } from "vitest";
import { expectedCells } from "../../../../src/farm/check/cells.ts";
import type { Farm } from "../../../../src/farm/file/load.ts";
import { parseFarm } from "../../../../src/farm/file/load.ts";
import { evidenceGate } from "../../../../src/farm/gates/evidence.ts";
import { FarmLease } from "../../../../src/farm/journal/lease.ts";
import { TestCatalog } from "../catalog.ts";

const spec = parseFarm(
  `
version: 1
name: shop
sites: { live: { url: "http://shop.test" }, shadow: { url: "http://next.shop.test" } }
routers: [{ kind: command, name: edge, command: [edge] }]
boxes:
  - { kind: existing, name: web1, shadow: { address: 10.0.0.1 } }
  - { kind: existing, name: web2, shadow: { address: 10.0.0.2 } }
databases: [{ engine: postgres, name: orders, url: { env: ORDERS } }]
checks:
  - { kind: http, name: front }
  - { kind: command, name: one, run: ["true"], boxes: [web2] }
`,
  "farm.yaml",
);
const NOW = new Date("2026-11-24T12:00:00Z");

describe("the gate of the checks", () => {
  const look = async (change: (cells: Cells) => Cells) => {
    using test = new TestCatalog();
    using lease = FarmLease.take(test.journal);
    const time = new Date(NOW.getTime() - 60_000).toISOString();
    const cells = expectedCells(spec).map((cell) => ({
      ...cell,
      passed: true,
      message: "",
      latencyMs: 1,
      time,
    }));
    lease.append({ kind: "evidence", run: 1, cells: change(cells) });
    return await evidenceGate({ spec } as Farm, test.journal, () => NOW).look(new AbortController().signal);
  };
  type Cells = (ReturnType<typeof expectedCells>[number] & {
    passed: boolean;
    message: string;
    latencyMs: number;
    time: string;
  })[];

  it("knows every cell: machine and database, machine and machine, outside, the file's own", () => {
    expect(expectedCells(spec).map(({ id }) => id)).toEqual([
      ...["database/web1/orders", "database/web2/orders", "machine/web1/web2", "machine/web2/web1"],
      ...["outside/outside/web1", "outside/outside/web2", "check/outside/front", "check/web2/one"],
    ]);
  });

  it("is open when every cell has passed lately", async () => {
    expect(await look((cells) => cells)).toEqual({ passed: true, message: "8 cells are green" });
  });

  it.each<[string, (cells: Cells) => Cells, string]>([
    ["a missing cell", (cells) => cells.slice(1), "database/web1/orders was never checked"],
    [
      "a failed cell",
      (cells) =>
        cells.map((cell, index) => (index === 2 ? { ...cell, passed: false, message: "refused" } : cell)),
      "machine/web1/web2 failed: refused",
    ],
    [
      "an old cell",
      (cells) => cells.map((cell) => ({ ...cell, time: "2026-11-24T11:44:59.000Z" })),
      "database/web1/orders is of 2026-11-24T11:44:59.000Z",
    ],
    [
      "a cell from the future",
      (cells) => cells.map((cell) => ({ ...cell, time: "2026-11-24T12:00:01.000Z" })),
      "database/web1/orders is of 2026-11-24T12:00:01.000Z",
    ],
  ])("is closed by %s", async (_what, change, says) => {
    expect(await look(change)).toMatchObject({ passed: false, message: expect.stringContaining(says) });
  });
});
