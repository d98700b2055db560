import { describe, expect, test } from "vitest";
import { BatchOrder } from "../../../src/agent/batch-order.ts";
import type { AgentMessage, AgentMessageOf } from "../../../src/agent/wire.ts";

const begin = (disk: number, clusters = 100) =>
  ({ type: "disk-begin", body: { disk, device: "x", sizeBytes: 0, clusters, usedClusters: 0 } }) as const;
const end = (disk: number) =>
  ({
    type: "disk-end",
    body: { disk, framesSent: 0, sameClusters: 0, zeroClusters: 0, readErrors: 0 },
  }) as const;
const zeros = (firstCluster: number, count = 1, { disk = 0, pass = 0 } = {}): AgentMessageOf<"zeros"> => ({
  ...{ type: "zeros", disk, pass },
  runs: [{ firstCluster, count }],
});
const clusters = (firstCluster: number, count = 1) =>
  ({
    ...zeros(firstCluster, count),
    type: "clusters",
    frameCount: count,
    table: NONE,
    frames: NONE,
  }) as const;
const same = (...runs: [number, number][]) =>
  ({
    type: "same",
    disk: 0,
    pass: 0,
    runs: runs.map(([firstCluster, count]) => ({ firstCluster, count })),
  }) as const;
const NONE = Buffer.alloc(0);
const captureEnd = { type: "capture-end", body: {} } as unknown as AgentMessage;

function check(...messages: AgentMessage[]): void {
  const order = new BatchOrder(2);
  for (const message of messages) order.check(message);
}

describe("accepted", () => {
  test("two disks, one after the other, with frames and zeros between each other", () => {
    check(begin(0), clusters(3), zeros(1), clusters(5), zeros(4), end(0));
    check(begin(0), end(0), begin(1), zeros(0, 100, { disk: 1 }), end(1), captureEnd);
  });

  test("what is the same, with clusters among its runs and behind them", () => {
    check(
      begin(0),
      same([0, 2], [3, 5]),
      clusters(2),
      same([8, 2]),
      same([11, 1]),
      clusters(10),
      clusters(12),
    );
    check(begin(0), clusters(0), same([1, 1], [5, 1]), zeros(3), clusters(7), end(0));
  });

  test("a later pass that starts again", () => {
    check(begin(0), zeros(50), zeros(1, 1, { pass: 1 }));
  });
});

describe("refused", () => {
  const cases: Record<string, AgentMessage[]> = {
    "clusters before their disk": [clusters(0)],
    "clusters of another disk": [begin(0), zeros(0, 1, { disk: 1 })],
    "clusters that step back": [begin(0), clusters(5), clusters(4)],
    "clusters twice": [begin(0), clusters(5, 2), clusters(6)],
    "clusters that are the same as well": [begin(0), same([4, 3]), clusters(6)],
    "clusters among runs that are behind them": [begin(0), same([0, 1], [5, 1]), clusters(2), clusters(3)],
    "what is the same before earlier clusters": [begin(0), clusters(5), same([4, 1])],
    "what is the same twice": [begin(0), same([4, 2]), same([5, 1])],
    "clusters before the last but one SAME": [begin(0), same([4, 2]), same([8, 1]), clusters(2)],
    "zeros twice": [begin(0), zeros(5), zeros(5)],
    "clusters behind the disk's end": [begin(0), clusters(99, 2)],
    "a disk that was not asked for": [begin(2)],
    "a disk within a disk": [begin(0), begin(1)],
    "the end of another disk": [begin(0), end(1)],
    "the end of all within a disk": [begin(0), captureEnd],
  };
  test.each(Object.keys(cases))("%s", (name) => {
    expect(() => check(...(cases[name] as AgentMessage[]))).toThrow(
      expect.objectContaining({ code: "agent-protocol" }),
    );
  });
});
