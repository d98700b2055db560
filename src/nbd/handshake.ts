import type { Socket } from "node:net";
import type { BlockExport } from "./block-export.ts";
import {
  BASE_ALLOCATION,
  BASE_ALLOCATION_ID,
  HANDSHAKE_FLAGS,
  INFO,
  INIT_MAGIC,
  MAX_OPTION_BYTES,
  MAX_PAYLOAD_BYTES,
  OPTION,
  OPTION_HEADER,
  OPTION_MAGIC,
  OPTION_REPLY,
  optionReply,
  TRANSMISSION_FLAGS,
  u16,
  u32,
} from "./protocol.ts";
import type { SocketReader } from "./socket-reader.ts";

/** What client and server have agreed on when the transmission begins. */
export interface Session {
  export: BlockExport;
  structuredReplies: boolean;
  /** The client may ask for `base:allocation`. */
  baseAllocation: boolean;
}

/**
 * The fixed newstyle handshake. Returns undefined when the client leaves, or does what ends a connection: wrong magic,
 * option data past the limit, an unknown export by the option that has no way to refuse.
 */
export async function handshake(
  socket: Socket,
  reader: SocketReader,
  exports: readonly BlockExport[],
): Promise<Session | undefined> {
  return await new Handshake(socket, reader, exports).run();
}

class Handshake {
  readonly #socket: Socket;
  readonly #reader: SocketReader;
  readonly #exports: readonly BlockExport[];
  #noZeroes = false;
  #structuredReplies = false;
  /** The export that SET_META_CONTEXT named, when it chose base:allocation. */
  #metaContextOf: BlockExport | undefined;

  constructor(socket: Socket, reader: SocketReader, exports: readonly BlockExport[]) {
    this.#socket = socket;
    this.#reader = reader;
    this.#exports = exports;
  }

  async run(): Promise<Session | undefined> {
    const flags = Buffer.alloc(2);
    flags.writeUInt16BE(HANDSHAKE_FLAGS.fixedNewstyle | HANDSHAKE_FLAGS.noZeroes);
    this.#socket.write(Buffer.concat([INIT_MAGIC, OPTION_MAGIC, flags]));
    const client = await this.#reader.read(4);
    if (!client || (client.readUInt32BE() & HANDSHAKE_FLAGS.fixedNewstyle) === 0) return undefined;
    this.#noZeroes = (client.readUInt32BE() & HANDSHAKE_FLAGS.noZeroes) !== 0;
    for (;;) {
      const bytes = await this.#reader.read(OPTION_HEADER.sizeBytes);
      if (!bytes) return undefined;
      const { magic, option, lengthBytes } = OPTION_HEADER.read(bytes);
      if (!magic.equals(OPTION_MAGIC) || lengthBytes > MAX_OPTION_BYTES) return undefined;
      const data = await this.#reader.read(lengthBytes);
      if (!data || option === OPTION.abort) {
        if (data) this.#reply(option, OPTION_REPLY.ack);
        return undefined;
      }
      if (option === OPTION.exportName) return this.#exportName(data);
      const session = this.#answer(option, data);
      if (session) return session;
    }
  }

  /** The oldest option: its answer has no way to refuse. */
  #exportName(data: Buffer): Session | undefined {
    const chosen = this.#find(data.toString("utf8"));
    if (!chosen) return undefined;
    const reply = Buffer.alloc(this.#noZeroes ? 10 : 134);
    reply.writeBigUInt64BE(BigInt(chosen.sizeBytes));
    reply.writeUInt16BE(transmissionFlags(chosen, this.#structuredReplies), 8);
    this.#socket.write(reply);
    return this.#session(chosen);
  }

  /** Answers an option; a session when the transmission begins. */
  #answer(option: number, data: Buffer): Session | undefined {
    switch (option) {
      case OPTION.list:
        if (data.length > 0) this.#refuse(option, OPTION_REPLY.invalid, "LIST has no data");
        else this.#list(option);
        return undefined;
      case OPTION.structuredReply:
        if (data.length > 0) this.#refuse(option, OPTION_REPLY.invalid, "STRUCTURED_REPLY has no data");
        else {
          this.#structuredReplies = true;
          this.#reply(option, OPTION_REPLY.ack);
        }
        return undefined;
      case OPTION.info:
      case OPTION.go:
        return this.#infoOrGo(option, data);
      case OPTION.listMetaContext:
      case OPTION.setMetaContext:
        this.#metaContext(option, data);
        return undefined;
      default:
        this.#refuse(option, OPTION_REPLY.unsupported, "this option is not known here");
        return undefined;
    }
  }

  #list(option: number): void {
    for (const { name } of this.#exports) {
      const bytes = Buffer.from(name, "utf8");
      this.#reply(option, OPTION_REPLY.server, Buffer.concat([u32(bytes.length), bytes]));
    }
    this.#reply(option, OPTION_REPLY.ack);
  }

  #infoOrGo(option: number, data: Buffer): Session | undefined {
    const request = readInfoRequest(data);
    if (!request) {
      this.#refuse(option, OPTION_REPLY.invalid, "the lengths contradict one another");
      return undefined;
    }
    const chosen = this.#find(request.name);
    if (!chosen) {
      this.#refuse(option, OPTION_REPLY.unknown, "there is no export of that name");
      return undefined;
    }
    const info = Buffer.alloc(12);
    info.writeUInt16BE(INFO.export);
    info.writeBigUInt64BE(BigInt(chosen.sizeBytes), 2);
    info.writeUInt16BE(transmissionFlags(chosen, this.#structuredReplies), 10);
    this.#reply(option, OPTION_REPLY.info, info);
    if (request.wanted.includes(INFO.name)) {
      const name = Buffer.from(chosen.name, "utf8");
      this.#reply(option, OPTION_REPLY.info, Buffer.concat([u16(INFO.name), name]));
    }
    if (request.wanted.includes(INFO.blockSize)) {
      const sizes = [1, 65_536, MAX_PAYLOAD_BYTES].map(u32);
      this.#reply(option, OPTION_REPLY.info, Buffer.concat([u16(INFO.blockSize), ...sizes]));
    }
    this.#reply(option, OPTION_REPLY.ack);
    return option === OPTION.go ? this.#session(chosen) : undefined;
  }

  #metaContext(option: number, data: Buffer): void {
    const request = readMetaContextRequest(data);
    if (!request || !this.#structuredReplies) {
      this.#refuse(
        option,
        OPTION_REPLY.invalid,
        "the lengths contradict one another, or replies have no structure",
      );
      return;
    }
    const chosen = this.#find(request.name);
    if (!chosen) {
      this.#refuse(option, OPTION_REPLY.unknown, "there is no export of that name");
      return;
    }
    const setting = option === OPTION.setMetaContext;
    const all = request.queries.length === 0 && !setting;
    const wanted = (query: string) => query === BASE_ALLOCATION || (!setting && query === "base:");
    const selected = all || request.queries.some(wanted);
    if (setting) this.#metaContextOf = selected ? chosen : undefined;
    if (selected) {
      const id = u32(setting ? BASE_ALLOCATION_ID : 0);
      this.#reply(option, OPTION_REPLY.metaContext, Buffer.concat([id, Buffer.from(BASE_ALLOCATION)]));
    }
    this.#reply(option, OPTION_REPLY.ack);
  }

  #find(name: string): BlockExport | undefined {
    return name === "" ? this.#exports[0] : this.#exports.find((candidate) => candidate.name === name);
  }

  #session(chosen: BlockExport): Session {
    return {
      export: chosen,
      structuredReplies: this.#structuredReplies,
      baseAllocation: this.#metaContextOf === chosen,
    };
  }

  #reply(option: number, type: number, data?: Buffer): void {
    this.#socket.write(optionReply(option, type, data));
  }

  #refuse(option: number, type: number, why: string): void {
    this.#reply(option, type, Buffer.from(why, "utf8"));
  }
}

/** Data of INFO and GO: name with its length, then the kinds of information wanted. */
function readInfoRequest(data: Buffer): { name: string; wanted: number[] } | undefined {
  if (data.length < 6) return undefined;
  const nameBytes = data.readUInt32BE();
  if (nameBytes > data.length - 6) return undefined;
  const count = data.readUInt16BE(4 + nameBytes);
  if (data.length !== 6 + nameBytes + count * 2) return undefined;
  const wanted = Array.from({ length: count }, (_, index) => data.readUInt16BE(6 + nameBytes + index * 2));
  return { name: data.toString("utf8", 4, 4 + nameBytes), wanted };
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT: name, then queries, each with its length. */
function readMetaContextRequest(data: Buffer): { name: string; queries: string[] } | undefined {
  if (data.length < 8) return undefined;
  const nameBytes = data.readUInt32BE();
  if (nameBytes > data.length - 8) return undefined;
  const count = data.readUInt32BE(4 + nameBytes);
  const queries: string[] = [];
  let at = 8 + nameBytes;
  for (let index = 0; index < count; index++) {
    if (at + 4 > data.length) return undefined;
    const length = data.readUInt32BE(at);
    if (length > data.length - at - 4) return undefined;
    queries.push(data.toString("utf8", at + 4, at + 4 + length));
    at += 4 + length;
  }
  return at === data.length ? { name: data.toString("utf8", 4, 4 + nameBytes), queries } : undefined;
}

function transmissionFlags(chosen: BlockExport, structured: boolean): number {
  const flags = TRANSMISSION_FLAGS;
  const always = flags.hasFlags | flags.sendFlush | flags.sendFua | flags.canMultiConn | flags.sendCache;
  const writing = flags.sendTrim | flags.sendWriteZeroes | flags.sendFastZero;
  return always | (structured ? flags.sendDf : 0) | (chosen.writable ? writing : flags.readOnly);
}
