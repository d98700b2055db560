import { describe, expect, test } from "vitest";
import { HaveSender } from "../../../src/agent/have-sender.ts";

/** What HAVE says, read as docs/agent-protocol.md has it. */
interface Have {
  disk: number;
  last: boolean;
  clusters: [number, number][];
}

function read(payload: Buffer): Have {
  const [disk = 0, runCount = 0, hashCount = 0, last] = [0, 4, 8, 12].map((at) => payload.readUInt32LE(at));
  const clusters: [number, number][] = [];
  let at = 16 + runCount * 16;
  for (let run = 0; run < runCount; run++) {
    const first = Number(payload.readBigUInt64LE(16 + run * 16));
    for (let i = 0; i < payload.readUInt32LE(16 + run * 16 + 8); i++, at += 16)
      clusters.push([first + i, payload.readUInt32LE(at)]);
  }
  expect(clusters).toHaveLength(hashCount);
  expect(at).toBe(payload.length);
  return { disk, last: last === 1, clusters };
}

/** Runs of clusters whose hash is their number. */
async function* runs(...parts: [first: number, count: number][]) {
  for (const [firstCluster, count] of parts) {
    const hashes = Buffer.alloc(count * 16);
    for (let i = 0; i < count; i++) hashes.writeUInt32LE(firstCluster + i, i * 16);
    yield { firstCluster, hashes };
  }
}

/** Grants to a sender one after another, and returns what it has sent after each. */
async function sent(parts: [number, number][], ...grants: number[]): Promise<Have[][]> {
  const messages: Have[] = [];
  const sender = new HaveSender([() => runs(...parts)], (payload) => messages.push(read(payload)));
  const all: Have[][] = [];
  for (const grant of grants) {
    sender.grant(0, grant);
    await new Promise(setImmediate);
    all.push(messages.splice(0));
  }
  sender.throwIfFailed();
  return all;
}

const numbers = (first: number, count: number) =>
  Array.from({ length: count }, (_, index) => [first + index, first + index]);

describe("hashes that the host has", () => {
  test("go out no faster than they are asked for, cut wherever that is", async () => {
    const [first, second, third] = await sent(
      [
        [0, 3],
        [10, 5],
      ],
      2,
      4,
      10,
    );
    expect(first).toEqual([{ disk: 0, last: false, clusters: numbers(0, 2) }]);
    expect(second).toEqual([{ disk: 0, last: false, clusters: [[2, 2], ...numbers(10, 3)] }]);
    expect(third).toEqual([{ disk: 0, last: true, clusters: numbers(13, 2) }]);
  });

  test("are at most 4,096 a message", async () => {
    const [messages] = await sent([[7, 10_000]], 65_536);
    expect(messages?.map(({ clusters }) => clusters.length)).toEqual([4096, 4096, 1808]);
    expect(messages?.map(({ last }) => last)).toEqual([false, false, true]);
    expect(messages?.flatMap(({ clusters }) => clusters)).toEqual(numbers(7, 10_000));
  });

  test("that there are none of are said to be at their end at once", async () => {
    expect(await sent([], 5, 5)).toEqual([[{ disk: 0, last: true, clusters: [] }], []]);
  });

  test("that cannot be read let the agent go on, and tell why", async () => {
    const messages: Have[] = [];
    // biome-ignore lint/correctness/useYield: a source that fails at once
    async function* broken(): AsyncGenerator<never, void> {
      throw new Error("rotten");
    }
    const sender = new HaveSender([broken], (payload) => messages.push(read(payload)));
    sender.grant(0, 10);
    await new Promise(setImmediate);
    expect(messages).toEqual([{ disk: 0, last: true, clusters: [] }]);
    expect(() => sender.throwIfFailed()).toThrow("rotten");
  });
});
