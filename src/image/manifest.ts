import { z } from "zod";
import { digestSchema, parseJsonBlob } from "./config.ts";
import type { MapPack } from "./disk-map.ts";

export const MEDIA_TYPES = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  artifact: "application/vnd.doppel.image.v1",
  diskMap: "application/vnd.doppel.disk-map.v1",
  firmwareVariables: "application/vnd.doppel.firmware-variables.v1+json",
  pack: "application/vnd.doppel.pack.v1+zstd",
  empty: "application/vnd.oci.empty.v1+json",
  /** cosign's signatures as OCI referrers, and what is signed (cosign, SIGNATURE_SPEC.md, "Simple Signing"). */
  signature: "application/vnd.dev.cosign.artifact.sig.v1+json",
  signaturePayload: "application/vnd.dev.cosign.simplesigning.v1+json",
} as const;

/** The annotation of a payload's descriptor that holds its signature, in base64. */
export const SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature";

export const descriptorSchema = z.looseObject({
  mediaType: z.string(),
  digest: digestSchema,
  size: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
  annotations: z.record(z.string(), z.string()).optional(),
});

export const manifestSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.literal(MEDIA_TYPES.manifest),
  artifactType: z.literal(MEDIA_TYPES.artifact),
  config: descriptorSchema,
  layers: z.array(descriptorSchema).min(1),
});

/** OCI content descriptor: media type, digest, size in bytes. */
export type Descriptor = z.infer<typeof descriptorSchema>;
export type Manifest = z.infer<typeof manifestSchema>;

/**
 * The manifest of an image: disk maps first, then firmware variables where there are any, then each pack once
 * (docs/image-format.md, Manifest).
 */
export function buildManifest(
  config: Descriptor,
  mapsAndVariables: readonly Descriptor[],
  packs: readonly MapPack[],
): Manifest {
  const seen = new Set<string>();
  const packLayers: Descriptor[] = [];
  for (const pack of packs) {
    if (seen.has(pack.digest)) continue;
    seen.add(pack.digest);
    packLayers.push({ mediaType: MEDIA_TYPES.pack, digest: pack.digest, size: pack.sizeBytes });
  }
  return {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    artifactType: MEDIA_TYPES.artifact,
    config,
    layers: [...mapsAndVariables, ...packLayers],
  };
}

const attachmentSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.literal(MEDIA_TYPES.manifest),
  artifactType: z.string(),
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(1024),
  subject: descriptorSchema,
  annotations: z.record(z.string(), z.string()).optional(),
});

/** The manifest of something attached to an image (OCI image specification, manifest.md, "Guidelines for artifact usage"). */
export type AttachmentManifest = z.infer<typeof attachmentSchema>;

export function parseAttachmentManifest(blob: Buffer, name: string): AttachmentManifest {
  return parseJsonBlob(blob, attachmentSchema, "manifest-corrupt", `manifest of ${name}`);
}

/** Parses a manifest blob; `manifest-corrupt` names what does not fit. */
export function parseManifest(blob: Buffer, name: string): Manifest {
  return parseJsonBlob(blob, manifestSchema, "manifest-corrupt", `manifest of ${name}`);
}
