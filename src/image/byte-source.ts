/** A readable range of bytes: a blob on disk, in memory, or in a registry. */
export interface ByteSource {
  readonly sizeBytes: number;
  /**
   * Fills `target` from `offsetBytes`. Fails with `blob-truncated` when the range reaches past the end;
   * never returns a short read.
   */
  read(target: Buffer, offsetBytes: number): Promise<void>;
}

/** Reads `lengthBytes` at `offsetBytes` into a new buffer. */
export async function readRange(
  source: ByteSource,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(lengthBytes);
  await source.read(buffer, offsetBytes);
  return buffer;
}
