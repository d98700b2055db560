import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { message } from "../unit/agent/agent-side.ts";
import { packageRoot, possible } from "./doppel.ts";

// The host's side of docs/agent-protocol.md, HAVE, with numbers of its own.

const CLUSTER = 65_536;
const CLUSTERS = 40;
const disk = Buffer.concat(Array.from({ length: CLUSTERS }, (_, i) => Buffer.alloc(CLUSTER, i + 1)));
const hashOf = (cluster: number) =>
  createHash("sha256")
    .update(disk.subarray(cluster * CLUSTER, (cluster + 1) * CLUSTER))
    .digest()
    .subarray(0, 16);

function have(
  runs: [first: number, count: number][],
  options: { disk?: number; last?: boolean } = {},
): Buffer {
  const hashes = runs.flatMap(([first, count]) =>
    Array.from({ length: count }, (_, i) => hashOf((first + i) % CLUSTERS)),
  );
  const fixed = Buffer.alloc(16 + runs.length * 16);
  [options.disk ?? 0, runs.length, hashes.length, options.last ? 1 : 0].forEach((value, index) => {
    fixed.writeUInt32LE(value, index * 4);
  });
  for (const [index, [first, count]] of runs.entries()) {
    fixed.writeBigUInt64LE(BigInt(first), 16 + index * 16);
    fixed.writeUInt32LE(count, 24 + index * 16);
  }
  return Buffer.concat([fixed, ...hashes]);
}

interface Heard {
  type: number;
  payload: Buffer;
}

/** Runs the agent on the disk, answers its first WANT with `haves`, and returns what it said and its exit code. */
async function capture(path: string, haves: Buffer[]): Promise<{ heard: Heard[]; code: number | null }> {
  const agent: ChildProcessWithoutNullStreams = spawn(
    join(packageRoot, `native/build/${process.arch === "arm64" ? "aarch64" : "x86_64"}/doppel-agent`),
    ["serve"],
  );
  agent.stdin.on("error", () => {});
  const exited = new Promise<number | null>((resolve) => agent.once("exit", resolve));
  agent.stdin.write(message(0x83, { disks: [path], compare: [0] }));
  const heard: Heard[] = [];
  let input = Buffer.alloc(0);
  for await (const chunk of agent.stdout) {
    input = Buffer.concat([input, chunk]);
    while (input.length >= 8 && input.length >= 8 + input.readUInt32LE(0)) {
      const payload = Buffer.from(input.subarray(8, 8 + input.readUInt32LE(0)));
      const type = input[4] ?? 0;
      input = input.subarray(8 + payload.length);
      if (type === 0x1a && heard.every((one) => one.type !== 0x1a))
        for (const payload of haves) agent.stdin.write(message(0x86, payload));
      heard.push({ type, payload });
      if (type === 0x18) agent.stdin.write(message(0x85, Buffer.alloc(0)));
    }
  }
  return { heard, code: await exited };
}

const json = (heard: Heard[], type: number) =>
  JSON.parse(heard.find((one) => one.type === type)?.payload.toString() ?? "null");

describe.skipIf(!possible)("the agent", () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-have-"));
  const path = join(folder, "disk.img");

  beforeAll(() => writeFileSync(path, disk));
  afterAll(() => rmSync(folder, { recursive: true }));

  it("leaves out what the host has, and asks for hashes by the disk", async () => {
    const { heard, code } = await capture(path, [
      have([[0, 4]]),
      have([
        [10, 3],
        [20, 1],
      ]),
      have([[39, 1]], { last: true }),
    ]);
    expect(code).toBe(0);
    expect(json(heard, 0x1a)).toEqual({ disk: 0, hashes: 65_536 });
    expect(json(heard, 0x18)).toMatchObject({ sameClusters: 9, framesSent: CLUSTERS - 9 });
  });

  it("sends what is at another place, and what has another hash", async () => {
    const other = have([[0, 4]], { last: true });
    hashOf(30).copy(other, 32);
    const { heard, code } = await capture(path, [other]);
    expect(code).toBe(0);
    expect(json(heard, 0x18)).toMatchObject({ sameClusters: 3, framesSent: CLUSTERS - 3 });
  });

  it("ignores hashes of clusters that it does not read, and of more than the disk has", async () => {
    const { heard, code } = await capture(path, [
      have(
        [
          [5, 1],
          [1000, 30],
        ],
        { last: true },
      ),
    ]);
    expect(code).toBe(0);
    expect(json(heard, 0x18)).toMatchObject({ sameClusters: 1 });
  });

  const one = have([[5, 1]]);
  const change = (offset: number, value: number) => {
    const changed = Buffer.from(one);
    changed.writeUInt32LE(value, offset);
    return changed;
  };
  const cases: Record<string, Buffer[]> = {
    "nothing at all": [Buffer.alloc(0)],
    "a payload that is too short": [Buffer.alloc(15)],
    "hashes of another disk": [change(0, 1)],
    "more runs than hashes": [change(4, 2)],
    "more hashes than bytes": [change(8, 2)],
    "more hashes than a message may have": [have([[0, 4097]])],
    "a mark that is neither 0 nor 1": [change(12, 2)],
    "no hashes, though more follow": [have([])],
    "an empty run": [change(24, 0)],
    "a run longer than its hashes": [change(24, 0xffffffff)],
    "padding that is not zero": [change(28, 1)],
    "a cluster beyond any disk": [change(20, 0xffffffff)],
    "runs that overlap": [
      have([
        [5, 2],
        [6, 1],
      ]),
    ],
    "runs that step back from one message to the next": [have([[5, 2]]), have([[6, 1]])],
    "hashes after the last": [have([[5, 1]], { last: true }), have([[6, 1]])],
    "more than was asked for": Array.from({ length: 17 }, (_, i) => have([[1000 + i * 4096, 4096]])),
  };
  it.each(Object.keys(cases))("ends with an error that says why for %s", async (name) => {
    const { heard, code } = await capture(path, cases[name] ?? []);
    expect(code).toBe(1);
    expect(json(heard, 0x1f)).toMatchObject({
      code: "protocol",
      message: expect.stringContaining("HAVE with "),
    });
  });
});
