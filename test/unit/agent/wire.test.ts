import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readMessages } from "../../../src/agent/message-reader.ts";
import { type AgentMessage, decodePayload, encodeHostMessage } from "../../../src/agent/wire.ts";
import { DoppelError } from "../../../src/errors.ts";
import { type Batch, batchPayload, message } from "./agent-side.ts";

const CLUSTERS = 0x11;
const SAME = 0x19;
const ZEROS = 0x12;

async function decode(bytes: Buffer, cuts: number[] = []): Promise<AgentMessage[]> {
  const messages: AgentMessage[] = [];
  for await (const one of readMessages(pieces(bytes, cuts))) messages.push(kept(one));
  return messages;
}

/** A copy: the buffers of a message are used again for the next one. */
function kept(one: AgentMessage): AgentMessage {
  if (one.type !== "clusters") return one;
  return { ...one, table: Buffer.from(one.table), frames: Buffer.from(one.frames) };
}

async function* pieces(bytes: Buffer, cuts: number[]): AsyncGenerator<Buffer> {
  const ends = cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b);
  let start = 0;
  for (const end of [...ends, bytes.length]) {
    yield bytes.subarray(start, end);
    start = end;
  }
}

const batches: fc.Arbitrary<Batch> = fc
  .record({
    disk: fc.nat(7),
    pass: fc.nat(3),
    gapsAndCounts: fc.array(fc.tuple(fc.nat(2 ** 40), fc.integer({ min: 1, max: 5 })), {
      minLength: 1,
      maxLength: 8,
    }),
    frameByte: fc.nat(255),
  })
  .map(({ disk, pass, gapsAndCounts, frameByte }) => {
    let next = 0;
    const runs = gapsAndCounts.map(([gap, count]) => {
      const firstCluster = next + gap;
      next = firstCluster + count;
      return { firstCluster, count };
    });
    const frameCount = runs.reduce((sum, run) => sum + run.count, 0);
    const frames = Array.from({ length: frameCount }, (_, index) => Buffer.alloc(12 + index, frameByte));
    return { disk, pass, runs, frames };
  });

describe("messages of the source", () => {
  test("come out as they were written, wherever the stream is cut into chunks", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(batches, { maxLength: 5 }), fc.array(fc.nat()), async (sent, cuts) => {
        const stream = sent.flatMap((batch) => [
          message(CLUSTERS, batchPayload(batch)),
          message(ZEROS, batchPayload({ ...batch, frames: [] })),
          message(0x1e, { code: "odd", message: "ü" }),
        ]);
        const received = await decode(Buffer.concat(stream), cuts);
        expect(received).toEqual(
          sent.flatMap(({ frames, ...batch }) => [
            {
              ...{ type: "clusters", ...batch, frameCount: frames.length },
              table: batchPayload({ ...batch, frames }).subarray(
                16 + 16 * batch.runs.length,
                16 + 16 * batch.runs.length + 20 * frames.length,
              ),
              frames: Buffer.concat(frames),
            },
            { type: "zeros", ...batch },
            { type: "warning", body: { code: "odd", message: "ü" } },
          ]),
        );
      }),
    );
  });

  test("give views of one payload, not copies of its frames", () => {
    const frame = Buffer.alloc(65_550, 7);
    const payload = batchPayload({
      disk: 0,
      pass: 0,
      runs: [{ firstCluster: 2 ** 40, count: 1 }],
      frames: [frame],
    });
    const decoded = decodePayload(CLUSTERS, payload);
    if (decoded.type !== "clusters") throw new Error(decoded.type);
    expect(decoded.frames.buffer).toBe(payload.buffer);
    expect(decoded.runs).toEqual([{ firstCluster: 2 ** 40, count: 1 }]);
  });

  test("that the end of the stream cuts short are dropped", async () => {
    const whole = message(0x1e, { code: "a", message: "b" });
    for (let end = 0; end < whole.length; end += 1) expect(await decode(whole.subarray(0, end))).toEqual([]);
    expect(await decode(whole)).toHaveLength(1);
  });
});

describe("hostile input is refused with agent-protocol", () => {
  const good: Batch = { disk: 0, pass: 0, runs: [{ firstCluster: 5, count: 2 }], frames: twoFrames() };
  const change = (offset: number, value: number) => {
    const payload = batchPayload(good);
    payload.writeUInt32LE(value, offset);
    return message(CLUSTERS, payload);
  };
  const cases: Record<string, Buffer> = {
    "a payload above the limit": Buffer.from([1, 0, 0x80, 0, 0x11, 0, 0, 0]),
    "an unknown type": message(0x77, {}),
    "a type of the other direction": message(0x81, {}),
    "SAME without a run": message(SAME, Buffer.alloc(16)),
    "SAME with frames": message(SAME, batchPayload(good)),
    "WANT of a fraction": message(0x1a, { disk: 0, hashes: 0.5 }),
    "a non-zero byte in the header": Buffer.from([0, 0, 0, 0, 0x11, 0, 0, 1]),
    "text that is not JSON": message(0x01, Buffer.from("{")),
    "JSON of another shape": message(0x01, { protocol: "1" }),
    "negative sizes": message(0x10, { disk: 0, device: "x", sizeBytes: -1, clusters: 0, usedClusters: 0 }),
    "a PONG of 7 bytes": message(0x04, Buffer.alloc(7)),
    "an empty CLUSTERS": message(CLUSTERS, Buffer.alloc(0)),
    "no run": change(8, 0),
    "more runs than bytes": change(8, 0xffffffff),
    "more frames than allowed": change(12, 1025),
    "frames that the runs do not have": change(12, 1),
    "a run of no cluster": change(24, 0),
    "padding that is not zero": change(28, 1),
    "a cluster above 2^53": change(20, 0xffffffff),
    "a frame shorter than any frame": change(32, 11),
    "a frame longer than a raw one": change(32, 65_551),
    "frame lengths that do not add up": change(32, 21),
    "runs that overlap": message(
      CLUSTERS,
      batchPayload({
        ...good,
        runs: [
          { firstCluster: 5, count: 1 },
          { firstCluster: 5, count: 1 },
        ],
      }),
    ),
    "ZEROS with frames": message(ZEROS, batchPayload(good)),
    "ZEROS with bytes after its runs": message(
      ZEROS,
      Buffer.concat([batchPayload({ ...good, frames: [] }), Buffer.alloc(1)]),
    ),
  };
  test.each(Object.keys(cases))("%s", async (name) => {
    await expect(decode(cases[name] as Buffer)).rejects.toMatchObject({ code: "agent-protocol" });
  });

  test("the unchanged message behind these cases is accepted", async () => {
    expect(await decode(message(CLUSTERS, batchPayload(good)))).toHaveLength(1);
  });

  test("any bytes: messages or a DoppelError, nothing else", async () => {
    const types = [0x01, 0x10, CLUSTERS, ZEROS, 0x17, 0x1f];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...types), fc.uint8Array({ maxLength: 200 }), async (type, bytes) => {
        const failure = await decode(message(type, Buffer.from(bytes))).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (failure !== undefined) expect(failure).toBeInstanceOf(DoppelError);
      }),
    );
  });
});

test("messages of the host have their numbers and JSON bodies", () => {
  expect(encodeHostMessage("facts-request", {})).toEqual(message(0x81, {}));
  expect(encodeHostMessage("plan-request", { disks: ["/dev/sda"] })).toEqual(
    message(0x82, { disks: ["/dev/sda"] }),
  );
  expect(encodeHostMessage("capture-request", { level: 3 })).toEqual(message(0x83, { level: 3 }));
  expect(encodeHostMessage("ping", Buffer.from("12345678"))).toEqual(message(0x84, Buffer.from("12345678")));
  expect(encodeHostMessage("stop", Buffer.alloc(0))).toEqual(message(0x85, Buffer.alloc(0)));
});

function twoFrames(): Buffer[] {
  return [Buffer.alloc(20, 1), Buffer.alloc(30, 2)];
}
