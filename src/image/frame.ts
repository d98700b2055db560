import { createHash } from "node:crypto";
import { decompress } from "zstd-napi";
import { CLUSTER_BYTES, HASH_BYTES } from "./cluster.ts";

/** The first 16 bytes of the SHA-256 of a raw cluster. */
export function clusterHash(cluster: Buffer): Buffer {
  return createHash("sha256").update(cluster).digest().subarray(0, HASH_BYTES);
}

/**
 * Decompresses a frame and compares its hash. Returns the cluster, or one sentence that says what is wrong: a frame
 * out of a store or a registry may be anything.
 */
export function decodeFrame(frame: Buffer, hash: Buffer): Buffer | string {
  const declared = declaredBytes(frame);
  if (declared !== CLUSTER_BYTES)
    return `its frame declares ${declared ?? "no"} bytes instead of ${CLUSTER_BYTES}`;
  let cluster: Buffer;
  try {
    cluster = decompress(frame);
  } catch (error) {
    return `its frame does not decompress (${error instanceof Error ? error.message : String(error)})`;
  }
  if (cluster.length !== CLUSTER_BYTES)
    return `its frame holds ${cluster.length} bytes instead of ${CLUSTER_BYTES}`;
  return clusterHash(cluster).equals(hash) ? cluster : "its content does not match its hash";
}

/**
 * The content size in a zstd frame header (RFC 8878, 3.1.1.1), looked at before decompressing so that a frame that
 * would unfold to gigabytes is refused. Undefined when the header has none or is no header.
 */
function declaredBytes(frame: Buffer): number | undefined {
  if (frame.length < 9 || frame.readUInt32LE(0) !== 0xfd2fb528) return undefined;
  const descriptor = frame.readUInt8(4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const at = 5 + (singleSegment ? 0 : 1) + dictionaryBytes;
  const sizeFlag = descriptor >> 6;
  if (at + 8 > frame.length) return undefined;
  if (sizeFlag === 0) return singleSegment ? frame.readUInt8(at) : undefined;
  if (sizeFlag === 1) return frame.readUInt16LE(at) + 256;
  if (sizeFlag === 2) return frame.readUInt32LE(at);
  return Number(frame.readBigUInt64LE(at));
}
