import { z } from "zod";
import { DoppelError } from "../errors.ts";
import { type ClusterBatch, decodeClusters, decodeRunBatch, type RunBatch } from "./wire-clusters.ts";

// The agent protocol, version 2: docs/agent-protocol.md. Mirrored by native/agent/wire.h.

export const PROTOCOL_VERSION = 2;
export const HEADER_BYTES = 8;
const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024;

const count = z.int().nonnegative();

/** What the source says in JSON. FACTS and PLAN are parsed by those who use them (src/machine). */
const JSON_BODIES = {
  hello: z.object({
    protocol: z.int(),
    version: z.string(),
    arch: z.string(),
    pid: count,
    uid: count,
    cpus: count,
    ioUring: z.boolean(),
  }),
  facts: z.unknown(),
  plan: z.unknown(),
  "disk-begin": z.object({
    disk: count,
    device: z.string(),
    sizeBytes: count,
    clusters: count,
    usedClusters: count,
  }),
  "read-error": z.object({
    disk: count,
    offsetBytes: count,
    lengthBytes: count,
    sector: count,
    sectorBytes: count,
    cluster: count,
    errno: z.int(),
    message: z.string(),
  }),
  "disk-end": z.object({
    disk: count,
    framesSent: count,
    sameClusters: count,
    zeroClusters: count,
    readErrors: count,
  }),
  frozen: z.object({ mountpoints: z.array(z.string()), milliseconds: z.number() }),
  thawed: z.object({
    heldMilliseconds: z.number(),
    byWatchdog: z.boolean(),
    unfrozen: z.array(z.object({ mountpoint: z.string(), synced: z.boolean(), written: z.boolean() })),
  }),
  stats: z.object({
    disk: count,
    readBytes: count,
    sentBytes: count,
    clustersDone: count,
    clustersPlanned: count,
    residentBytes: count,
    cpuMilliseconds: z.number(),
    elapsedMilliseconds: z.number(),
  }),
  "capture-end": z.object({
    disks: count,
    readBytes: count,
    sentBytes: count,
    framesSent: count,
    sameClusters: count,
    zeroClusters: count,
    readErrors: count,
    residentPeakBytes: count,
    cpuMilliseconds: z.number(),
    elapsedMilliseconds: z.number(),
    stages: z.object({ read: z.number(), hash: z.number(), compress: z.number(), send: z.number() }),
  }),
  want: z.object({ disk: count, hashes: count }),
  warning: z.object({ code: z.string(), message: z.string() }),
  error: z.object({
    code: z.string(),
    message: z.string(),
    hint: z.string().optional(),
    device: z.string().optional(),
    offsetBytes: count.optional(),
    sector: count.optional(),
    errno: z.int().optional(),
  }),
};

type JsonBodies = typeof JSON_BODIES;
type JsonMessage = { [K in keyof JsonBodies]: { type: K; body: z.infer<JsonBodies[K]> } }[keyof JsonBodies];

/** A message of the source, checked. Its buffers are valid until the next message is asked for. */
export type AgentMessage =
  | JsonMessage
  | ({ type: "clusters" } & ClusterBatch)
  | ({ type: "same" } & RunBatch)
  | ({ type: "zeros" } & RunBatch)
  | { type: "pong"; payload: Buffer };

export type AgentMessageOf<T extends AgentMessage["type"]> = Extract<AgentMessage, { type: T }>;

const SOURCE_TYPES = {
  1: "hello",
  2: "facts",
  3: "plan",
  4: "pong",
  16: "disk-begin",
  17: "clusters",
  18: "zeros",
  19: "read-error",
  20: "disk-end",
  21: "frozen",
  22: "thawed",
  23: "stats",
  24: "capture-end",
  25: "same",
  26: "want",
  30: "warning",
  31: "error",
} as const satisfies Record<number, AgentMessage["type"]>;

const HOST_TYPES = {
  "facts-request": 0x81,
  "plan-request": 0x82,
  "capture-request": 0x83,
  ping: 0x84,
  stop: 0x85,
  have: 0x86,
} as const;

export type HostMessageType = keyof typeof HOST_TYPES;

/** A message to the source: a Buffer goes as it is, anything else as JSON. */
export function encodeHostMessage(type: HostMessageType, body: unknown): Buffer {
  return encodeMessage(HOST_TYPES[type], Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body)));
}

function encodeMessage(type: number, payload: Buffer): Buffer {
  const message = Buffer.alloc(HEADER_BYTES + payload.length);
  message.writeUInt32LE(payload.length, 0);
  message.writeUInt8(type, 4);
  payload.copy(message, HEADER_BYTES);
  return message;
}

export interface MessageHeader {
  payloadBytes: number;
  type: number;
}

/** Reads the 8 bytes before a payload. Throws `agent-protocol` when they break the protocol. */
export function decodeHeader(header: Buffer): MessageHeader {
  const payloadBytes = header.readUInt32LE(0);
  const type = header.readUInt8(4);
  if (!(type in SOURCE_TYPES)) throw protocolError(`message of unknown type 0x${type.toString(16)}`);
  if (header.readUIntLE(5, 3) !== 0) throw protocolError("non-zero bytes at 5 of a message header");
  if (payloadBytes > MAX_PAYLOAD_BYTES) {
    throw protocolError(`message of ${payloadBytes} bytes, the limit is ${MAX_PAYLOAD_BYTES}`);
  }
  return { payloadBytes, type };
}

/** Checks and decodes the payload of a message whose header has been read. Throws `agent-protocol`. */
export function decodePayload(type: number, payload: Buffer): AgentMessage {
  const name = SOURCE_TYPES[type as keyof typeof SOURCE_TYPES];
  if (name === "clusters") return { type: name, ...decodeClusters(payload) };
  if (name === "same") return { type: name, ...decodeRunBatch(payload) };
  if (name === "zeros") return { type: name, ...decodeRunBatch(payload) };
  if (name === "pong") {
    if (payload.length !== 8) throw protocolError(`PONG of ${payload.length} bytes, expected 8`);
    return { type: name, payload };
  }
  const parsed = JSON_BODIES[name].safeParse(parseJson(name, payload));
  if (!parsed.success) throw protocolError(`${name}: ${z.prettifyError(parsed.error)}`);
  // The schema was chosen by the name, which the compiler cannot follow through the union.
  return { type: name, body: parsed.data } as JsonMessage;
}

function parseJson(name: string, payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString("utf8"));
  } catch (cause) {
    throw new DoppelError("agent-protocol", `the agent's ${name} message is not JSON`, { cause });
  }
}

function protocolError(what: string): DoppelError {
  return new DoppelError("agent-protocol", `the agent broke its protocol: ${what}`, {
    hint: "use a command and an agent of one build: make -C native",
  });
}
