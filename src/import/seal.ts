import { buildImageConfig, type ReadErrorRecord } from "../image/config.ts";
import type { Reference } from "../image/reference.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import type { WrittenImage } from "../store/image-writer.ts";
import { diskName } from "./disk-devices.ts";
import type { PreparedImport } from "./prepare.ts";

export interface SealOptions {
  prepared: PreparedImport;
  written: WrittenImage;
  readErrors: ReadErrorRecord[][];
  level: number;
  readBytes: number;
  startedAt: Date;
}

/** Writes config and manifest and gives the image its name: from here on it exists. */
export async function sealImport(
  store: ImageStore,
  reference: Reference,
  { prepared, written, readErrors, level, readBytes, startedAt }: SealOptions,
): Promise<StoredImage> {
  const { facts, plan, grade, files } = prepared;
  const created = new Date().toISOString();
  const config = buildImageConfig(
    {
      version: 1,
      grade,
      host: facts.os.hostname ?? "unknown",
      disks: plan.disks.map((disk, index) => ({
        name: diskName(index),
        device: disk.device,
        sizeBytes: disk.sizeBytes,
        logicalSectorBytes: disk.logicalSectorBytes,
        map: written.maps[index]?.digest ?? "",
        dataBytes: written.dataBytes[index] ?? 0,
        regions: disk.regions,
        readErrors: readErrors[index] ?? [],
      })),
      facts,
      lineage: { kind: "import", parent: null },
      import: { startedAt: startedAt.toISOString(), finishedAt: created, level, files, readBytes },
    },
    { architecture: facts.hardware.arch === "aarch64" ? "arm64" : "amd64", created },
  );
  return await store.commitImage(reference, { ...written, config });
}
