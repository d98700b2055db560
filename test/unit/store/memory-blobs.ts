import { createHash } from "node:crypto";
import type { ByteSource } from "../../../src/image/byte-source.ts";
import type { BlobSink } from "../../../src/store/pack-writer.ts";

/** Blobs in memory, by digest; copies what is appended, as a caller may reuse its buffer. */
export class MemoryBlobs {
  readonly blobs = new Map<string, Buffer>();
  aborted = 0;

  create = async (): Promise<BlobSink> => {
    const parts: Buffer[] = [];
    return {
      append: async (bytes) => {
        parts.push(Buffer.from(bytes));
      },
      commit: async () => {
        const blob = Buffer.concat(parts);
        const digest = `sha256:${createHash("sha256").update(blob).digest("hex")}`;
        this.blobs.set(digest, blob);
        return { digest, sizeBytes: blob.length };
      },
      abort: async () => {
        this.aborted++;
      },
    };
  };

  source(digest: string): ByteSource {
    const blob = this.blobs.get(digest);
    if (!blob) throw new Error(`no blob ${digest}`);
    return {
      sizeBytes: blob.length,
      read: async (target, offset) => {
        if (offset + target.length > blob.length) throw new RangeError("past the end");
        blob.copy(target, 0, offset);
      },
    };
  }
}
