import type { OpenBlob } from "../image/disk-reader.ts";
import type { Descriptor } from "../image/manifest.ts";
import type { BlobStore } from "./blobs.ts";

/** Takes a blob's bytes in order; the buffer is its own only until the promise is resolved. */
export type TakePiece = (piece: Buffer) => Promise<void>;

/** Where blobs are read from to be verified: a store or a registry. A blob that is not there is `blob-missing`. */
export interface BlobSource {
  /** Opens a blob for reads here and there. */
  openBlob(descriptor: Descriptor): Promise<OpenBlob>;
  /** Reads all of a blob. `begin` is called before its first byte, and again when reading has to start anew. */
  readAll(descriptor: Descriptor, begin: () => TakePiece): Promise<void>;
}

const PIECE_BYTES = 4 * 1024 * 1024;

/** The blobs of a store as they lie there, whatever their descriptors say about their sizes. */
export function storedBlobs(blobs: BlobStore, signal: AbortSignal | undefined): BlobSource {
  return {
    openBlob: ({ digest }) => blobs.openBlob(digest),
    async readAll({ digest }, begin) {
      await using blob = await blobs.openBlob(digest);
      const take = begin();
      const buffer = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, blob.sizeBytes));
      for (let at = 0; at < blob.sizeBytes; at += buffer.length) {
        signal?.throwIfAborted();
        const piece = buffer.subarray(0, Math.min(buffer.length, blob.sizeBytes - at));
        await blob.read(piece, at);
        await take(piece);
      }
    },
  };
}
