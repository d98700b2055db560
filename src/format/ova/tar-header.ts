import { pack } from "tar-stream";

export const TAR_BLOCK_BYTES = 512;

/**
 * The header of a tar member, by tar-stream: one block; a size past 8 GiB is written in base 256 (GNU tar). The stream itself
 * wants to know a member's size before its first byte, so a member that is compressed as it is written cannot go through it.
 */
export async function tarHeader(name: string, sizeBytes: number): Promise<Buffer> {
  const stream = pack();
  // No owner and no time: the same image makes the same file.
  stream.entry({ name, size: sizeBytes, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) }, () => {});
  for await (const chunk of stream) {
    stream.destroy();
    return Buffer.from(chunk as Buffer);
  }
  throw new Error("tar-stream made no header");
}

/** Bytes of a member with its padding. */
export function paddedBytes(sizeBytes: number): number {
  return Math.ceil(sizeBytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
}
