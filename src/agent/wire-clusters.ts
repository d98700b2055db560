import { DoppelError } from "../errors.ts";
import { HASH_BYTES, RAW_FRAME_BYTES } from "../image/cluster.ts";
import { recordLayout } from "../image/record.ts";

// CLUSTERS, SAME and ZEROS: docs/agent-protocol.md, "CLUSTERS, SAME and ZEROS".

const BATCH = recordLayout("little", 16, {
  disk: [0, "u32"],
  pass: [4, "u32"],
  runCount: [8, "u32"],
  frameCount: [12, "u32"],
});

const RUN_BYTES = 16;
const FRAME_ENTRY_BYTES = 4 + HASH_BYTES;
const MAX_FRAMES_A_MESSAGE = 1024;
/** Magic, descriptor, content size, block header, checksum: no frame with a content checksum is shorter. */
const SHORTEST_FRAME_BYTES = 12;

/** Consecutive clusters of a disk. */
export interface ClusterRun {
  firstCluster: number;
  count: number;
}

/** Clusters that were read and hold only zeros, or what the host has. */
export interface RunBatch {
  /** Index into the request's disks. */
  disk: number;
  /** 0 for the first copy; a later pass overrides an earlier one. */
  pass: number;
  runs: ClusterRun[];
}

/** Frames of the clusters of `runs`, in their order. */
export interface ClusterBatch extends RunBatch {
  frameCount: number;
  /** 20 bytes a frame: its length (4, little-endian) and the first 16 bytes of the SHA-256 of its raw cluster. */
  table: Buffer;
  /** The frames, one after another. */
  frames: Buffer;
}

/** Reads a CLUSTERS payload without copying its frames. Throws `agent-protocol`. */
export function decodeClusters(payload: Buffer): ClusterBatch {
  const { frameCount, tableOffset, clusters, ...batch } = decodeRuns(payload);
  if (frameCount < 1 || frameCount > MAX_FRAMES_A_MESSAGE) throw broken(`${frameCount} frames in a message`);
  if (clusters !== frameCount) throw broken(`${frameCount} frames for ${clusters} clusters`);
  const framesOffset = tableOffset + frameCount * FRAME_ENTRY_BYTES;
  if (framesOffset > payload.length) throw broken(`the table of ${frameCount} frames is cut short`);
  const table = payload.subarray(tableOffset, framesOffset);
  const frames = payload.subarray(framesOffset);
  checkFrameLengths(table, frames.length);
  return { ...batch, frameCount, table, frames };
}

/** Reads a ZEROS or SAME payload. Throws `agent-protocol`. */
export function decodeRunBatch(payload: Buffer): RunBatch {
  const { frameCount, tableOffset, clusters: _, ...batch } = decodeRuns(payload);
  if (frameCount !== 0) throw broken(`${frameCount} frames in a message that has none`);
  if (tableOffset !== payload.length) throw broken(`${payload.length - tableOffset} bytes after the runs`);
  return batch;
}

function decodeRuns(payload: Buffer) {
  if (payload.length < BATCH.sizeBytes) throw broken(`a batch of ${payload.length} bytes`);
  const { disk, pass, runCount, frameCount } = BATCH.read(payload);
  const tableOffset = BATCH.sizeBytes + runCount * RUN_BYTES;
  if (runCount < 1 || tableOffset > payload.length)
    throw broken(`${runCount} runs in ${payload.length} bytes`);
  const runs: ClusterRun[] = [];
  let clusters = 0;
  let next = 0;
  for (let at = BATCH.sizeBytes; at < tableOffset; at += RUN_BYTES) {
    // 64-bit cluster number as two halves: this runs for every batch, and bigint is slow.
    const firstCluster = payload.readUInt32LE(at) + payload.readUInt32LE(at + 4) * 2 ** 32;
    const count = payload.readUInt32LE(at + 8);
    if (payload.readUInt32LE(at + 12) !== 0) throw broken("non-zero padding in a run");
    if (!Number.isSafeInteger(firstCluster + count)) throw broken(`run at cluster ${firstCluster}`);
    if (count < 1 || firstCluster < next) throw broken(`run of ${count} at ${firstCluster}, after ${next}`);
    runs.push({ firstCluster, count });
    next = firstCluster + count;
    clusters += count;
  }
  return { disk, pass, runs, frameCount, clusters, tableOffset };
}

function checkFrameLengths(table: Buffer, framesBytes: number): void {
  let total = 0;
  for (let at = 0; at < table.length; at += FRAME_ENTRY_BYTES) {
    const length = table.readUInt32LE(at);
    if (length < SHORTEST_FRAME_BYTES || length > RAW_FRAME_BYTES) throw broken(`frame of ${length} bytes`);
    total += length;
  }
  if (total !== framesBytes) throw broken(`frames of ${total} bytes in a message that has ${framesBytes}`);
}

function broken(what: string): DoppelError {
  return new DoppelError("agent-protocol", `the agent broke its protocol: ${what}`);
}
