import { type AgentMessage, decodeHeader, decodePayload, HEADER_BYTES, type MessageHeader } from "./wire.ts";

const SMALLEST_ROOM_BYTES = 2 * 1024 * 1024;

/**
 * Cuts a byte stream into messages. Each payload is copied once, into one buffer that is used again: the views in a
 * message are valid until the next message is asked for. (A buffer a message costs as much in page faults and garbage
 * collection as decrypting it.)
 *
 * Ends with the stream; a message that the end cut short is dropped, since whoever waits for a message (such as
 * CAPTURE_END) learns from its absence. Throws `agent-protocol` for bytes that are not the protocol.
 */
export async function* readMessages(chunks: AsyncIterable<Buffer>): AsyncGenerator<AgentMessage, void> {
  const headerBytes = Buffer.alloc(HEADER_BYTES);
  let room: Buffer = Buffer.allocUnsafeSlow(0);
  let header: MessageHeader | undefined;
  let target: Buffer = headerBytes;
  let filled = 0;
  for await (const chunk of chunks) {
    let at = 0;
    // The second condition: a header that announces an empty payload is complete without another byte.
    while (at < chunk.length || (header !== undefined && filled === target.length)) {
      const copied = chunk.copy(target, filled, at);
      at += copied;
      filled += copied;
      if (filled < target.length) continue;
      filled = 0;
      if (header === undefined) {
        header = decodeHeader(headerBytes);
        if (header.payloadBytes > room.length) room = roomFor(header.payloadBytes);
        target = room.subarray(0, header.payloadBytes);
      } else {
        const message = decodePayload(header.type, target);
        header = undefined;
        target = headerBytes;
        yield message;
      }
    }
  }
}

function roomFor(payloadBytes: number): Buffer {
  return Buffer.allocUnsafeSlow(Math.max(payloadBytes, SMALLEST_ROOM_BYTES));
}
