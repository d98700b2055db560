import type { ReadErrorRecord } from "../image/config.ts";
import type { Reference } from "../image/reference.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { ImageWriter } from "../store/image-writer.ts";
import { type CopyTotals, copyDisks } from "./copy.ts";
import { type ImportEvents, type ImportOptions, openFiles, type PreparedImport } from "./prepare.ts";
import { sealImport } from "./seal.ts";

export interface ImportResult {
  image: StoredImage;
  totals: CopyTotals;
  readErrors: ReadErrorRecord[][];
  storedBytes: number;
}

/** Says what FILEs hold and how they would be imported. Nothing is kept. */
export async function planImport(
  files: readonly string[],
  scratchFolder: string,
  options: ImportOptions,
  events: ImportEvents = {},
): Promise<PreparedImport> {
  await using opened = await openFiles(files, scratchFolder, options, events);
  return opened.prepared;
}

/**
 * Imports disk images as one image: opens them through qemu, lets the agent read them as it reads a machine's disks, seals. Nothing
 * is visible in the store before the image is whole; an interruption leaves only blobs that garbage collection takes.
 */
export async function importImage(
  store: ImageStore,
  reference: Reference,
  files: readonly string[],
  options: ImportOptions,
  events: ImportEvents = {},
): Promise<ImportResult> {
  await using _name = store.reserveName(reference);
  const startedAt = new Date();
  await using opened = await openFiles(files, store.blobs.uploads, options, events);
  const { prepared, session, sources } = opened;
  events.prepared?.(prepared);
  const usedBytes = prepared.plan.disks.reduce((sum, disk) => sum + disk.usedBytes, 0);
  await using writer = new ImageWriter(() => store.createBlob(), usedBytes);
  const copied = await opened.inWordsOfFiles(() =>
    copyDisks(
      session,
      sources.disks.map(({ socketPath }) => socketPath),
      prepared.plan,
      writer,
      options,
      events,
    ),
  );
  for (const source of sources.disks) await source.refuseChanged();
  const written = await writer.finish();
  const { totals, readErrors } = copied;
  const image = await sealImport(store, reference, {
    prepared,
    written,
    readErrors,
    level: options.level,
    readBytes: totals.readBytes,
    startedAt,
  });
  return { image, totals, readErrors, storedBytes: writer.storedBytes };
}
