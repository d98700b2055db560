import { createHash } from "node:crypto";
import { DoppelError, EXIT } from "../errors.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";

/**
 * Compares the digests of an image's manifest, config, maps and firmware variables with their bytes (`image-tampered`, exit
 * 3). Its packs are compared by who reads them whole: an export, or the making of a machine's base.
 */
export async function requireIntact(store: ImageStore, { digest, manifest }: StoredImage): Promise<void> {
  const small = manifest.layers.filter(({ mediaType }) => mediaType !== MEDIA_TYPES.pack);
  for (const blob of [digest, manifest.config.digest, ...small.map((layer) => layer.digest)]) {
    const hash = createHash("sha256");
    if ((await store.blobs.size(blob)) === undefined) throw tampered(digest, blob, "is not there");
    for await (const piece of store.blobs.stream(blob) as AsyncIterable<Buffer>) hash.update(piece);
    if (`sha256:${hash.digest("hex")}` !== blob) throw tampered(digest, blob, "does not match its digest");
  }
}

function tampered(image: string, blob: string, what: string): DoppelError {
  return new DoppelError("image-tampered", `${image} is not what it was: its blob ${blob} ${what}`, {
    hint: "find out who changed it; 'doppel images verify' names all that is damaged",
    exitCode: EXIT.refused,
  });
}
