import { closeSync, fsyncSync, openSync, renameSync, writeSync } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { temporaryName } from "../durable-file.ts";
import { systemErrorCode } from "../errors.ts";
import { digestSchema, parseJsonBlob } from "../image/config.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";

/** The content of the file `oci-layout`. */
export const LAYOUT_MARKER = '{"imageLayoutVersion":"1.0.0"}\n';

const REF_NAME = "org.opencontainers.image.ref.name";

export interface IndexEntry {
  digest: string;
  sizeBytes: number;
  name: string;
  tag: string;
}

/** A manifest that refers to another one by its `subject` (OCI image specification, manifest.md). */
export interface ReferrerEntry {
  digest: string;
  sizeBytes: number;
  artifactType: string;
  annotations: Record<string, string>;
}

export interface LayoutIndex {
  images: IndexEntry[];
  referrers: ReferrerEntry[];
}

const indexSchema = z.looseObject({
  manifests: z.array(
    z.looseObject({
      digest: digestSchema,
      size: z.number(),
      artifactType: z.string().optional(),
      annotations: z.record(z.string(), z.string()).optional(),
    }),
  ),
});

/** Makes the marker file of an OCI layout (image-layout.md) when it is missing. */
export async function ensureLayoutMarker(layout: string): Promise<void> {
  const path = join(layout, "oci-layout");
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (!exists) await writeFile(path, LAYOUT_MARKER, { mode: 0o600 });
}

/**
 * Writes index.json so that it lists exactly `images` and `referrers`. Synchronous on purpose: it runs inside the catalog's write
 * transaction, so that two processes cannot interleave.
 */
export function writeLayoutIndex(layout: string, index: LayoutIndex): void {
  const content = formatLayoutIndex(index);
  const path = join(layout, "index.json");
  const temporary = temporaryName(path);
  const file = openSync(temporary, "wx", 0o600);
  try {
    writeSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  const folder = openSync(layout, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** The content of index.json (OCI image specification, image-layout.md). */
export function formatLayoutIndex({ images, referrers }: LayoutIndex): string {
  const tagged = images.map(({ digest, sizeBytes, name, tag }) => ({
    mediaType: MEDIA_TYPES.manifest,
    digest,
    size: sizeBytes,
    artifactType: MEDIA_TYPES.artifact,
    annotations: { [REF_NAME]: `${name}:${tag}` },
  }));
  const referring = referrers.map(({ sizeBytes, ...entry }) => ({
    mediaType: MEDIA_TYPES.manifest,
    size: sizeBytes,
    ...entry,
  }));
  const manifests = [...tagged, ...referring];
  return JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests }, undefined, 2);
}

/** What index.json lists; nothing when there is no such file. */
export async function readLayoutIndex(layout: string): Promise<LayoutIndex> {
  let content: Buffer;
  try {
    content = await readFile(join(layout, "index.json"));
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return { images: [], referrers: [] };
    throw error;
  }
  return parseLayoutIndex(content, "index.json of the store");
}

/** Reads the content of an index.json; `index-corrupt` when it is none. Entries that are neither named nor referrers are left out. */
export function parseLayoutIndex(content: Buffer, name: string): LayoutIndex {
  const found: LayoutIndex = { images: [], referrers: [] };
  for (const manifest of parseJsonBlob(content, indexSchema, "index-corrupt", name).manifests) {
    const { digest, size: sizeBytes, artifactType, annotations = {} } = manifest;
    const reference = annotations[REF_NAME];
    const colon = reference?.lastIndexOf(":") ?? -1;
    if (reference !== undefined && colon >= 0)
      found.images.push({
        digest,
        sizeBytes,
        name: reference.slice(0, colon),
        tag: reference.slice(colon + 1),
      });
    else if (artifactType !== undefined)
      found.referrers.push({ digest, sizeBytes, artifactType, annotations });
  }
  return found;
}
