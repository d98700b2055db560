import {
  type BigIntStats,
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { syncFolderNow, temporaryName } from "../durable-file.ts";
import { systemErrorCode } from "../errors.ts";
import { digestSchema, parseJsonBlob } from "../image/config.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";

/** The content of the file `oci-layout`. */
export const LAYOUT_MARKER = '{"imageLayoutVersion":"1.0.0"}\n';

const INDEX_FILE = "index.json";
const REF_NAME = "org.opencontainers.image.ref.name";
const CHANNELS = "org.doppel.channels";

export interface IndexEntry extends UnnamedEntry {
  name: string;
  tag: string;
}

/** An image that is kept for the sake of a child or a machine. */
export interface UnnamedEntry {
  digest: string;
  sizeBytes: number;
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
  unnamed: UnnamedEntry[];
  referrers: ReferrerEntry[];
  /** The store's channels as src/store/channels.ts writes them. */
  channels?: string | undefined;
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
  annotations: z.record(z.string(), z.string()).optional(),
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
 * Writes index.json so that it lists exactly `index`, and returns its stamp. Synchronous on purpose: it runs inside the
 * catalog's write transaction, so that two processes cannot interleave.
 */
export function writeLayoutIndex(layout: string, index: LayoutIndex): string {
  const path = join(layout, INDEX_FILE);
  const temporary = temporaryName(path);
  const file = openSync(temporary, "wx", 0o600);
  let stamp: string;
  try {
    writeFileSync(file, formatLayoutIndex(index));
    fsyncSync(file);
    stamp = stampOf(fstatSync(file, { bigint: true }));
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  syncFolderNow(layout);
  return stamp;
}

/** What tells this index.json from any other one that was or will be there; undefined when there is none. */
export function layoutIndexStamp(layout: string): string | undefined {
  const found = statSync(join(layout, INDEX_FILE), { bigint: true, throwIfNoEntry: false });
  return found && stampOf(found);
}

function stampOf({ ino, size, mtimeNs }: BigIntStats): string {
  return `${ino}-${size}-${mtimeNs}`;
}

/** The content of index.json (OCI image specification, image-layout.md). */
export function formatLayoutIndex({ images, unnamed, referrers, channels }: LayoutIndex): string {
  const describe = ({ digest, sizeBytes }: UnnamedEntry) => ({
    mediaType: MEDIA_TYPES.manifest,
    digest,
    size: sizeBytes,
    artifactType: MEDIA_TYPES.artifact,
  });
  const tagged = images.map((image) => ({
    ...describe(image),
    annotations: { [REF_NAME]: `${image.name}:${image.tag}` },
  }));
  const referring = referrers.map(({ sizeBytes, ...entry }) => ({
    mediaType: MEDIA_TYPES.manifest,
    size: sizeBytes,
    ...entry,
  }));
  const manifests = [...tagged, ...unnamed.map(describe), ...referring];
  const annotations = channels === undefined ? undefined : { [CHANNELS]: channels };
  return JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests, annotations });
}

/** What index.json lists; nothing when there is no such file. */
export async function readLayoutIndex(layout: string): Promise<LayoutIndex> {
  let content: Buffer;
  try {
    content = await readFile(join(layout, INDEX_FILE));
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return { images: [], unnamed: [], referrers: [] };
    throw error;
  }
  return parseLayoutIndex(content, "index.json of the store");
}

/** Reads the content of an index.json; `index-corrupt` when it is none. What is no image and no referrer is left out. */
export function parseLayoutIndex(content: Buffer, name: string): LayoutIndex {
  const index = parseJsonBlob(content, indexSchema, "index-corrupt", name);
  const channels = index.annotations?.[CHANNELS];
  const found: LayoutIndex = { images: [], unnamed: [], referrers: [], channels };
  for (const manifest of index.manifests) {
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
    else if (artifactType === MEDIA_TYPES.artifact) found.unnamed.push({ digest, sizeBytes });
    else if (artifactType !== undefined)
      found.referrers.push({ digest, sizeBytes, artifactType, annotations });
  }
  return found;
}
