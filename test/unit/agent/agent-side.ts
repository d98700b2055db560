// The source's side of the protocol, written from docs/agent-protocol.md and not from src/agent: numbers stand
// here a second time so that a mistake in the product's tables shows.

export function message(type: number, payload: Buffer | object): Buffer {
  const bytes = Buffer.isBuffer(payload) ? payload : Buffer.from(JSON.stringify(payload));
  const header = Buffer.alloc(8);
  header.writeUInt32LE(bytes.length, 0);
  header[4] = type;
  return Buffer.concat([header, bytes]);
}

export interface Batch {
  disk: number;
  pass: number;
  runs: { firstCluster: number; count: number }[];
  frames: Buffer[];
}

/** The payload of CLUSTERS, or of ZEROS when there are no frames. Hashes are filled with the frame's number. */
export function batchPayload({ disk, pass, runs, frames }: Batch): Buffer {
  const head = Buffer.alloc(16);
  [disk, pass, runs.length, frames.length].forEach((value, index) => {
    head.writeUInt32LE(value, index * 4);
  });
  const runBytes = runs.map(({ firstCluster, count }) => {
    const run = Buffer.alloc(16);
    run.writeBigUInt64LE(BigInt(firstCluster), 0);
    run.writeUInt32LE(count, 8);
    return run;
  });
  const table = frames.map((frame, index) => {
    const entry = Buffer.alloc(20, index & 0xff);
    entry.writeUInt32LE(frame.length, 0);
    return entry;
  });
  return Buffer.concat([head, ...runBytes, ...table, ...frames]);
}
