import { recordLayout } from "../image/record.ts";

/** NBD protocol, "Fixed newstyle negotiation" and "Transmission phase" (proto.md of the reference implementation). */
export const INIT_MAGIC = Buffer.from("NBDMAGIC", "latin1");
export const OPTION_MAGIC = Buffer.from("IHAVEOPT", "latin1");
const OPTION_REPLY_MAGIC = Buffer.from([0x00, 0x03, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9]);

export const HANDSHAKE_FLAGS = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const OPTION = {
  exportName: 1,
  abort: 2,
  list: 3,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const OPTION_REPLY = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  unsupported: 0x80000001,
  invalid: 0x80000003,
  unknown: 0x80000006,
  tooBig: 0x80000009,
} as const;

export const INFO = { export: 0, name: 1, blockSize: 3 } as const;

export const TRANSMISSION_FLAGS = {
  hasFlags: 1,
  readOnly: 2,
  sendFlush: 4,
  sendFua: 8,
  sendTrim: 32,
  sendWriteZeroes: 64,
  sendDf: 128,
  canMultiConn: 256,
  sendCache: 1024,
  sendFastZero: 2048,
} as const;

export const COMMAND = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const COMMAND_FLAGS = { fua: 1, noHole: 2, df: 4, reqOne: 8, fastZero: 16 } as const;

export const REPLY = { none: 0, offsetData: 1, offsetHole: 2, blockStatus: 5, error: 0x8001 } as const;
const REPLY_DONE = 1;

/** Bits of `base:allocation`. */
export const STATE = { data: 0, hole: 1, zero: 2 } as const;

export const NBD_ERROR = { EPERM: 1, EIO: 5, ENOMEM: 12, EINVAL: 22, ENOSPC: 28, ESHUTDOWN: 108 } as const;

/** Most bytes of one READ or WRITE, as announced; a longer WRITE ends the connection. */
export const MAX_PAYLOAD_BYTES = 32 * 1024 * 1024;

/** Most bytes of one option's data: an export name is at most 4,096. */
export const MAX_OPTION_BYTES = 65_536;

/** The one metadata context that there is, and its number. */
export const BASE_ALLOCATION = "base:allocation";
export const BASE_ALLOCATION_ID = 1;

export const OPTION_HEADER = recordLayout("big", 16, {
  magic: [0, "bytes8"],
  option: [8, "u32"],
  lengthBytes: [12, "u32"],
});

export const REQUEST = recordLayout("big", 28, {
  magic: [0, "u32"],
  flags: [4, "u16"],
  type: [6, "u16"],
  cookie: [8, "bytes8"],
  offsetBytes: [16, "u64"],
  lengthBytes: [24, "u32"],
});
export const REQUEST_MAGIC = 0x25609513;

const SIMPLE_REPLY = recordLayout("big", 16, { magic: [0, "u32"], error: [4, "u32"], cookie: [8, "bytes8"] });
const SIMPLE_REPLY_MAGIC = 0x67446698;

const CHUNK = recordLayout("big", 20, {
  magic: [0, "u32"],
  flags: [4, "u16"],
  type: [6, "u16"],
  cookie: [8, "bytes8"],
  lengthBytes: [16, "u32"],
});
const CHUNK_MAGIC = 0x668e33ef;

const OPTION_REPLY_HEADER = recordLayout("big", 20, {
  magic: [0, "bytes8"],
  option: [8, "u32"],
  type: [12, "u32"],
  lengthBytes: [16, "u32"],
});

/** An answer to an option. */
export function optionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const header = OPTION_REPLY_HEADER.write({
    magic: OPTION_REPLY_MAGIC,
    option,
    type,
    lengthBytes: data.length,
  });
  return Buffer.concat([header, data]);
}

/** A reply without structure; data of a READ follows it. */
export function simpleReply(cookie: Buffer, error: number): Buffer {
  return SIMPLE_REPLY.write({ magic: SIMPLE_REPLY_MAGIC, error, cookie });
}

/** The header of a chunk of a structured reply. */
export function chunkHeader(cookie: Buffer, type: number, lengthBytes: number, done: boolean): Buffer {
  const flags = done ? REPLY_DONE : 0;
  return CHUNK.write({ magic: CHUNK_MAGIC, flags, type, cookie, lengthBytes });
}

/** Big-endian integers, as the protocol has all of them. */
export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}
