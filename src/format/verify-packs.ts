import { createHash } from "node:crypto";
import { DoppelError } from "../errors.ts";
import type { DiskReader, OpenBlob } from "../image/disk-reader.ts";

/** Bit rot must not pass silently, although frames are only copied: each pack's bytes are compared with its digest. */
export async function verifyPacks(
  disks: readonly DiskReader[],
  openPack: (digest: string) => Promise<OpenBlob>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(4 * 1024 * 1024);
  const digests = new Set(disks.flatMap(({ map }) => map.packs.map(({ digest }) => digest)));
  for (const digest of digests) {
    await using blob = await openPack(digest);
    const hash = createHash("sha256");
    for (let at = 0; at < blob.sizeBytes; at += buffer.length) {
      signal?.throwIfAborted();
      const piece = buffer.subarray(0, Math.min(buffer.length, blob.sizeBytes - at));
      await blob.read(piece, at);
      hash.update(piece);
    }
    if (`sha256:${hash.digest("hex")}` !== digest) {
      throw new DoppelError(
        "pack-corrupt",
        `pack ${digest} does not match its digest: the file was not written`,
        {
          hint: "run 'doppel images verify' on the image to see which clusters are hurt",
        },
      );
    }
  }
}
