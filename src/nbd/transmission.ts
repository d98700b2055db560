import type { Socket } from "node:net";
import { systemErrorCode } from "../errors.ts";
import type { BlockExport, ReadPiece, StatusExtent } from "./block-export.ts";
import type { Session } from "./handshake.ts";
import {
  BASE_ALLOCATION_ID,
  COMMAND,
  COMMAND_FLAGS,
  chunkHeader,
  MAX_PAYLOAD_BYTES,
  NBD_ERROR,
  REPLY,
  REQUEST,
  REQUEST_MAGIC,
  STATE,
  simpleReply,
  u32,
  u64,
} from "./protocol.ts";
import type { SocketReader } from "./socket-reader.ts";

const MOST_REQUESTS = 32;
const MOST_BYTES = 64 * 1024 * 1024;
const MOST_EXTENTS = 4096;

interface Request {
  flags: number;
  type: number;
  cookie: Buffer;
  offsetBytes: number;
  lengthBytes: number;
}

/** What a request gets instead of a reply. */
class Refusal extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * Answers requests until the client disconnects. Requests are carried out beside one another and answered as they end;
 * their number and their bytes are bounded: no more is read from the socket before there is room.
 */
export async function transmit(
  socket: Socket,
  reader: SocketReader,
  session: Session,
  onFailure: (error: unknown) => void,
): Promise<void> {
  await new Transmission(socket, reader, session, onFailure).run();
}

class Transmission {
  readonly #socket: Socket;
  readonly #reader: SocketReader;
  readonly #export: BlockExport;
  readonly #structured: boolean;
  readonly #baseAllocation: boolean;
  readonly #onFailure: (error: unknown) => void;
  readonly #running = new Set<Promise<void>>();
  #bytes = 0;

  constructor(socket: Socket, reader: SocketReader, session: Session, onFailure: (error: unknown) => void) {
    this.#socket = socket;
    this.#reader = reader;
    this.#export = session.export;
    this.#structured = session.structuredReplies;
    this.#baseAllocation = session.baseAllocation;
    this.#onFailure = onFailure;
  }

  async run(): Promise<void> {
    for (;;) {
      const bytes = await this.#reader.read(REQUEST.sizeBytes);
      const request = bytes && readRequest(bytes);
      if (!request || request.type === COMMAND.disconnect) break;
      let payload: Buffer | undefined;
      if (request.type === COMMAND.write) {
        // A payload that is too long cannot be skipped safely: the connection ends.
        if (request.lengthBytes > MAX_PAYLOAD_BYTES) break;
        payload = await this.#reader.read(request.lengthBytes);
        if (!payload) break;
      }
      this.#start(request, payload);
      await this.#room();
    }
    await Promise.allSettled(this.#running);
  }

  #start(request: Request, payload: Buffer | undefined): void {
    const weight = isTransfer(request) ? Math.min(request.lengthBytes, MAX_PAYLOAD_BYTES) : 0;
    this.#bytes += weight;
    const running = this.#carryOut(request, payload)
      .catch((error: unknown) => this.#fail(request, error))
      .finally(() => {
        this.#bytes -= weight;
        this.#running.delete(running);
      });
    this.#running.add(running);
  }

  /** Waits until another request may be taken, and until the client has taken what was sent. */
  async #room(): Promise<void> {
    while (this.#running.size >= MOST_REQUESTS || this.#bytes > MOST_BYTES) await Promise.race(this.#running);
    while (this.#socket.writableLength > MOST_BYTES && !this.#socket.destroyed) await drained(this.#socket);
  }

  async #carryOut(request: Request, payload: Buffer | undefined): Promise<void> {
    const { type, flags, offsetBytes, lengthBytes } = request;
    this.#check(request);
    switch (type) {
      case COMMAND.read:
        return this.#sendPieces(request, await this.#export.read(offsetBytes, lengthBytes));
      case COMMAND.write:
        if (payload) await this.#export.write(offsetBytes, payload);
        break;
      case COMMAND.writeZeroes:
        await this.#export.zero(offsetBytes, lengthBytes, (flags & COMMAND_FLAGS.noHole) !== 0);
        break;
      case COMMAND.trim:
        await this.#export.zero(offsetBytes, lengthBytes, false);
        break;
      case COMMAND.cache:
        await this.#export.prefetch(offsetBytes, lengthBytes);
        break;
      case COMMAND.flush:
        await this.#export.flush();
        break;
      case COMMAND.blockStatus:
        return await this.#sendStatus(request);
    }
    if ((flags & COMMAND_FLAGS.fua) !== 0 && this.#export.writable) await this.#export.flush();
    this.#sendDone(request);
  }

  #check({ type, flags, offsetBytes, lengthBytes }: Request): void {
    const allowed = ALLOWED_FLAGS.get(type);
    if (allowed === undefined) throw new Refusal(NBD_ERROR.EINVAL, "this command is not known here");
    if ((flags & ~allowed) !== 0)
      throw new Refusal(NBD_ERROR.EINVAL, "these flags do not go with this command");
    if (WRITING.has(type) && !this.#export.writable)
      throw new Refusal(NBD_ERROR.EPERM, "the export is read-only");
    if (type === COMMAND.flush) return;
    if (lengthBytes === 0) throw new Refusal(NBD_ERROR.EINVAL, "the range is empty");
    if (offsetBytes + lengthBytes > this.#export.sizeBytes) {
      const past = WRITING.has(type) ? NBD_ERROR.ENOSPC : NBD_ERROR.EINVAL;
      throw new Refusal(past, "the range ends past the end of the disk");
    }
    if (type === COMMAND.read && lengthBytes > MAX_PAYLOAD_BYTES)
      throw new Refusal(NBD_ERROR.EINVAL, "more than 32 MiB at once");
    if (type === COMMAND.blockStatus && !this.#baseAllocation)
      throw new Refusal(NBD_ERROR.EINVAL, "no metadata context was chosen");
  }

  #sendPieces({ cookie, flags, offsetBytes, lengthBytes }: Request, pieces: readonly ReadPiece[]): void {
    if (!this.#structured) {
      this.#send([simpleReply(cookie, 0), ...pieces.map(bytesOf)]);
      return;
    }
    if ((flags & COMMAND_FLAGS.df) !== 0 || pieces.length === 0) {
      const header = chunkHeader(cookie, REPLY.offsetData, 8 + lengthBytes, true);
      this.#send([header, u64(offsetBytes), ...pieces.map(bytesOf)]);
      return;
    }
    const parts: Buffer[] = [];
    let at = offsetBytes;
    for (const [index, piece] of pieces.entries()) {
      const done = index === pieces.length - 1;
      if ("data" in piece) {
        parts.push(chunkHeader(cookie, REPLY.offsetData, 8 + piece.data.length, done), u64(at), piece.data);
        at += piece.data.length;
      } else {
        parts.push(chunkHeader(cookie, REPLY.offsetHole, 12, done), u64(at), u32(piece.zeroBytes));
        at += piece.zeroBytes;
      }
    }
    this.#send(parts);
  }

  async #sendStatus({ cookie, flags, offsetBytes, lengthBytes }: Request): Promise<void> {
    const most = (flags & COMMAND_FLAGS.reqOne) !== 0 ? 1 : MOST_EXTENTS;
    const extents = mergeStatus(await this.#export.status(offsetBytes, lengthBytes, most)).slice(0, most);
    const body = Buffer.alloc(4 + extents.length * 8);
    body.writeUInt32BE(BASE_ALLOCATION_ID);
    for (const [index, { lengthBytes: length, hole, zero }] of extents.entries()) {
      body.writeUInt32BE(length, 4 + index * 8);
      body.writeUInt32BE((hole ? STATE.hole : 0) | (zero ? STATE.zero : 0), 8 + index * 8);
    }
    this.#send([chunkHeader(cookie, REPLY.blockStatus, body.length, true), body]);
  }

  #sendDone({ cookie }: Request): void {
    this.#send([this.#structured ? chunkHeader(cookie, REPLY.none, 0, true) : simpleReply(cookie, 0)]);
  }

  #fail(request: Request, error: unknown): void {
    const refusal = error instanceof Refusal;
    if (!refusal) this.#onFailure(error);
    const code = refusal ? error.code : errnoOf(error);
    // What went wrong inside is for our user, not for the client.
    const message = Buffer.from(refusal ? error.message : "the request could not be carried out", "utf8");
    if (!this.#structured) this.#send([simpleReply(request.cookie, code)]);
    else {
      const body = Buffer.alloc(6);
      body.writeUInt32BE(code);
      body.writeUInt16BE(message.length, 4);
      const length = body.length + message.length;
      this.#send([chunkHeader(request.cookie, REPLY.error, length, true), body, message]);
    }
  }

  /** Writes the parts of one reply, with nothing between them. */
  #send(parts: readonly Buffer[]): void {
    if (this.#socket.destroyed) return;
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.uncork();
  }
}

const { fua, noHole, df, reqOne, fastZero } = COMMAND_FLAGS;

/** Flags that a command may have. FUA is allowed everywhere: it says nothing where nothing is written. */
const ALLOWED_FLAGS = new Map<number, number>([
  [COMMAND.read, df | fua],
  [COMMAND.write, fua],
  [COMMAND.flush, fua],
  [COMMAND.trim, fua],
  [COMMAND.cache, fua],
  [COMMAND.writeZeroes, fua | noHole | fastZero],
  [COMMAND.blockStatus, reqOne | fua],
]);

const WRITING = new Set<number>([COMMAND.write, COMMAND.trim, COMMAND.writeZeroes]);

function isTransfer({ type }: Request): boolean {
  return type === COMMAND.read || type === COMMAND.write;
}

/** Undefined for bytes that are no request: the connection ends, nothing after them can be understood. */
function readRequest(bytes: Buffer): Request | undefined {
  try {
    const { magic, cookie, ...request } = REQUEST.read(bytes);
    return magic === REQUEST_MAGIC ? { ...request, cookie: Buffer.from(cookie) } : undefined;
  } catch {
    // An offset above 2^53.
    return undefined;
  }
}

function mergeStatus(extents: readonly StatusExtent[]): StatusExtent[] {
  const merged: StatusExtent[] = [];
  for (const extent of extents) {
    const last = merged.at(-1);
    const same = last && last.hole === extent.hole && last.zero === extent.zero;
    if (same && last.lengthBytes + extent.lengthBytes < 2 ** 32) last.lengthBytes += extent.lengthBytes;
    else merged.push({ ...extent });
  }
  return merged;
}

function bytesOf(piece: ReadPiece): Buffer {
  return "data" in piece ? piece.data : Buffer.alloc(piece.zeroBytes);
}

function errnoOf(error: unknown): number {
  const code = systemErrorCode(error);
  if (code === "ENOSPC") return NBD_ERROR.ENOSPC;
  return code === "ENOMEM" ? NBD_ERROR.ENOMEM : NBD_ERROR.EIO;
}

async function drained(socket: Socket): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
  });
}
