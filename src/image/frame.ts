import { createHash } from "node:crypto";
import { Compressor } from "zstd-napi";
import binding from "zstd-napi/binding.js";
import { messageOf } from "../errors.ts";
import { CLUSTER_BYTES, HASH_BYTES } from "./cluster.ts";

const LEVEL = 3;
const decompressor = new binding.DCtx();
/** What precedes the payload of a raw frame: magic, descriptor, content size, header of a raw block (RFC 8878, 3.1.1). */
const RAW_HEADER = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x64, 0x00, 0xff, 0x01, 0x00, 0x08]);
const CHECKSUM_BYTES = 4;

/** A compressor as `encodeFrame` needs it: level 3, with content checksum. */
export function frameCompressor(): Compressor {
  const compressor = new Compressor();
  compressor.setParameters({ compressionLevel: LEVEL, checksumFlag: true, contentSizeFlag: true });
  return compressor;
}

/** One cluster as a frame; one that saves less than a sector is kept raw (docs/image-format.md, Frame). */
export function encodeFrame(compressor: Compressor, cluster: Buffer): Buffer {
  const frame = compressor.compress(cluster);
  if (frame.length <= CLUSTER_BYTES - 512) return frame;
  // The checksum is that of the content, however it is written.
  return Buffer.concat([RAW_HEADER, cluster, frame.subarray(frame.length - CHECKSUM_BYTES)]);
}

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
  // Of fixed size: another frame may follow the first, and would be unfolded whatever the first one declares.
  const cluster = Buffer.allocUnsafe(CLUSTER_BYTES);
  let bytes: number;
  try {
    bytes = decompressor.decompress(cluster, frame);
  } catch (error) {
    return `its frame does not decompress (${messageOf(error)})`;
  }
  if (bytes !== CLUSTER_BYTES) return `its frame holds ${bytes} bytes instead of ${CLUSTER_BYTES}`;
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
