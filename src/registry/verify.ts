import { z } from "zod";
import { DoppelError } from "../errors.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import { parseJson } from "../parse-json.ts";
import type { BlobSource } from "../store/blob-source.ts";
import { Verification, type VerifyOptions, type VerifyReport } from "../store/verification.ts";
import { refuseForeign } from "./pull.ts";
import { listReferrers } from "./referrers.ts";
import { RemoteBlobs } from "./remote-blobs.ts";
import type { RemoteManifest, Repository } from "./repository.ts";

/**
 * Verifies an image where it is, by tag or digest: every blob is read through, nothing of it is kept. What is attached to it is
 * verified too. Throws `registry-unknown` when there is no such image.
 */
export async function verifyRemote(
  repository: Repository,
  wanted: string,
  options: VerifyOptions = {},
): Promise<VerifyReport & { digest: string }> {
  const manifests = new Map<string, Buffer>();
  const verification = new Verification(withManifests(new RemoteBlobs(repository), manifests), options);
  const read = async (reference: string, check?: (found: RemoteManifest) => void) => {
    const found = await repository.manifest(reference);
    if (!found) return undefined;
    check?.(found);
    manifests.set(found.digest, found.bytes);
    return { mediaType: MEDIA_TYPES.manifest, digest: found.digest, size: found.bytes.length };
  };
  const name = `${repository.registry}/${repository.name}:${wanted}`;
  const descriptor = await read(wanted, (found) => {
    refuseForeign(found, name);
    verification.expect(layerBytes(found.bytes) * (options.sample?.share ?? 1));
  });
  if (!descriptor) {
    throw new DoppelError("registry-unknown", `there is no image ${name}`, {
      hint: "check the name and the tag",
    });
  }
  const image = await verification.verifyImage(descriptor);
  const attached: string[] = [];
  for (const referrer of await listReferrers(repository, descriptor.digest)) {
    const own = referrer.mediaType === MEDIA_TYPES.manifest ? await read(referrer.digest) : undefined;
    if (own) attached.push(...(await verification.verifyAttachment(own)));
  }
  const report = await verification.finish([
    { ...image, digest: descriptor.digest, names: [name], attached },
  ]);
  return { digest: descriptor.digest, ...report };
}

const layersSchema = z.looseObject({ layers: z.array(z.looseObject({ size: z.number() })) });

/** For the progress alone: what cannot be read counts nothing. */
function layerBytes(manifest: Buffer): number {
  const { data } = layersSchema.safeParse(parseJson(manifest.toString("utf8")));
  return data?.layers.reduce((sum, { size }) => sum + size, 0) ?? 0;
}

/** A registry gives manifests by their own address, and not as blobs. */
function withManifests(source: BlobSource, manifests: ReadonlyMap<string, Buffer>): BlobSource {
  return {
    async openBlob(descriptor) {
      const bytes = manifests.get(descriptor.digest);
      if (!bytes) return await source.openBlob(descriptor);
      const read = async (target: Buffer, offsetBytes: number) => {
        bytes.copy(target, 0, offsetBytes);
      };
      return { sizeBytes: bytes.length, read, [Symbol.asyncDispose]: async () => {} };
    },
    async readAll(descriptor, begin) {
      const bytes = manifests.get(descriptor.digest);
      if (bytes) await begin()(bytes);
      else await source.readAll(descriptor, begin);
    },
  };
}
