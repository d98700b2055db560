import { createReadStream } from "node:fs";

const PIECE_BYTES = 256 * 1024;
/** A path has at most 4,096 bytes, and so has a link. */
const MOST_RECORD_BYTES = 64 * 1024;

/**
 * The records of a file, each ended by a zero byte. Ends with the file, or before an empty record: what a device has behind
 * what was written to it is zeros.
 */
export async function* readRecords(path: string, startBytes = 0): AsyncGenerator<Buffer, void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of createReadStream(path, { start: startBytes, highWaterMark: PIECE_BYTES })) {
    rest = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    let at = 0;
    for (let end = rest.indexOf(0, at); end >= 0; end = rest.indexOf(0, at)) {
      if (end === at) return;
      yield rest.subarray(at, end);
      at = end + 1;
    }
    rest = Buffer.from(rest.subarray(at));
    if (rest.length > MOST_RECORD_BYTES) return;
  }
}
