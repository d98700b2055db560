import { z } from "zod";
import {
  type AttachmentManifest,
  type Descriptor,
  descriptorSchema,
  MEDIA_TYPES,
  SIGNATURE_ANNOTATION,
} from "../image/manifest.ts";
import { parseJson } from "../parse-json.ts";
import type { BlobStore } from "../store/blobs.ts";
import { digestOf, type Repository } from "./repository.ts";

/** An attachment that a registry has and the store has not. */
export interface FoundAttachment {
  digest: string;
  manifest: AttachmentManifest;
  bytes: Buffer;
}

const EMPTY_CONFIG = Buffer.from("{}");
const MOST_SIGNATURES = 100;
const MOST_PAYLOAD_BYTES = 65_536;

const manifestSchema = z.looseObject({ layers: z.array(descriptorSchema).max(MOST_SIGNATURES) });

/**
 * Makes signatures known to tools that look for them under a tag made of the image's digest (cosign, SIGNATURE_SPEC.md,
 * "Tag-based Discovery"), beside those that are there. Their payloads are in the repository.
 */
export async function addToCosignTag(
  repository: Repository,
  image: string,
  signatures: readonly Descriptor[],
): Promise<void> {
  if (signatures.length === 0) return;
  const known = await readLayers(repository, image);
  const missing = signatures.filter((signature) => !known?.some((other) => isSame(other, signature)));
  // What is there and not understood is somebody else's.
  if (known === undefined || missing.length === 0) return;
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: { mediaType: MEDIA_TYPES.config, digest: digestOf(EMPTY_CONFIG), size: EMPTY_CONFIG.length },
    layers: [...known, ...missing],
  };
  await repository.putManifest(tagOf(image), Buffer.from(JSON.stringify(manifest)), MEDIA_TYPES.manifest);
}

/** Signatures that other tools put under that tag, but for those in `known`, as attachments of the image. */
export async function readCosignTag(
  repository: Repository,
  blobs: BlobStore,
  image: { digest: string; size: number },
  known: readonly AttachmentManifest[],
): Promise<FoundAttachment[]> {
  const layers = (await readLayers(repository, image.digest)) ?? [];
  const seen = known.flatMap((manifest) => manifest.layers);
  const fetched: FoundAttachment[] = [];
  for (const layer of layers) {
    if (layer.mediaType !== MEDIA_TYPES.signaturePayload || layer.size > MOST_PAYLOAD_BYTES) continue;
    if (seen.some((other) => isSame(other, layer))) continue;
    const config = await blobs.put(EMPTY_CONFIG);
    const manifest: AttachmentManifest = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.manifest,
      artifactType: MEDIA_TYPES.signature,
      config: { mediaType: MEDIA_TYPES.empty, digest: config.digest, size: config.sizeBytes },
      layers: [layer],
      subject: { mediaType: MEDIA_TYPES.manifest, ...image },
    };
    const bytes = Buffer.from(JSON.stringify(manifest));
    fetched.push({ digest: digestOf(bytes), manifest, bytes });
  }
  return fetched;
}

/** The signatures under the tag, none when there is no such tag; undefined when it holds something else. */
async function readLayers(repository: Repository, image: string): Promise<Descriptor[] | undefined> {
  const found = await repository.manifest(tagOf(image));
  if (!found) return [];
  const parsed = manifestSchema.safeParse(parseJson(found.bytes.toString("utf8")));
  return parsed.success ? parsed.data.layers : undefined;
}

function isSame(one: Descriptor, other: Descriptor): boolean {
  const signature = one.annotations?.[SIGNATURE_ANNOTATION];
  return (
    signature !== undefined &&
    one.digest === other.digest &&
    signature === other.annotations?.[SIGNATURE_ANNOTATION]
  );
}

function tagOf(image: string): string {
  return `${image.replace(":", "-")}.sig`;
}
