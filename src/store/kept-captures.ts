import { z } from "zod";
import { DoppelError } from "../errors.ts";
import { digestSchema } from "../image/config.ts";
import { DiskMap } from "../image/disk-map.ts";
import type { Reference } from "../image/reference.ts";
import { parseJson } from "../parse-json.ts";
import type { BlobStore } from "./blobs.ts";
import type { Catalog } from "./catalog.ts";
import type { ImageStore } from "./image-store.ts";

const disksSchema = z.array(
  z.object({
    device: z.string(),
    sizeBytes: z.number(),
    serial: z.string().optional(),
    /** Of what had come, and of what the parent has behind that. */
    map: digestSchema,
  }),
);

/** What a capture that ended early had received: no image, and never shown as one. */
export interface KeptCapture {
  created: string;
  /** Digest of the image that it was compared with. */
  parent: string | null;
  disks: z.infer<typeof disksSchema>;
}

interface Row {
  name: string;
  tag: string;
  created: string;
  parent: string | null;
  disks: string;
}

/** After so long what was received is given up. */
const KEPT_MS = 7 * 24 * 3600 * 1000;

/** Records what a capture to `reference` had received, in place of what an earlier one had. */
export function keepCapture({ catalog }: ImageStore, { name, tag }: Reference, kept: KeptCapture): void {
  catalog.database
    .prepare(
      "INSERT OR REPLACE INTO kept_captures (name, tag, created, parent, disks) VALUES (?, ?, ?, ?, ?)",
    )
    .run(name, tag, kept.created, kept.parent, JSON.stringify(kept.disks));
}

/** What an earlier capture to `reference` had received. */
export function findKeptCapture({ catalog }: ImageStore, { name, tag }: Reference): KeptCapture | undefined {
  return rows(catalog).find((row) => row.name === name && row.tag === tag)?.kept;
}

export function dropKeptCapture(
  { catalog }: ImageStore,
  { name, tag }: Pick<Reference, "name" | "tag">,
): void {
  catalog.database.prepare("DELETE FROM kept_captures WHERE name = ? AND tag = ?").run(name, tag);
}

/** Digests of the maps of all kept captures. */
export function keptMaps(catalog: Catalog): string[] {
  return rows(catalog).flatMap(({ kept }) => kept.disks.map(({ map }) => map));
}

/** The packs that a kept map needs; none when it cannot be read: then they are of no use. */
export async function blobsOfKeptMap(blobs: BlobStore, digest: string): Promise<string[]> {
  try {
    await using blob = await blobs.openBlob(digest);
    const map = await DiskMap.open(blob, digest);
    return map.packs.map((pack) => pack.digest);
  } catch (error) {
    if (error instanceof DoppelError) return [];
    throw error;
  }
}

/** Gives up those that are too old, or all. */
export function dropKeptCaptures(catalog: Catalog, which: "old" | "all"): void {
  const before = new Date(which === "all" ? Date.now() + KEPT_MS : Date.now() - KEPT_MS).toISOString();
  catalog.database.prepare("DELETE FROM kept_captures WHERE created < ?").run(before);
}

function rows({ database }: Catalog): { name: string; tag: string; kept: KeptCapture }[] {
  const newerThan = new Date(Date.now() - KEPT_MS).toISOString();
  const all = database
    .prepare<[string], Row>("SELECT name, tag, created, parent, disks FROM kept_captures WHERE created >= ?")
    .all(newerThan);
  return all.flatMap(({ name, tag, created, parent, disks }) => {
    const parsed = disksSchema.safeParse(parseJson(disks));
    return parsed.success ? [{ name, tag, kept: { created, parent, disks: parsed.data } }] : [];
  });
}
