import type { ImageConfig } from "../image/config.ts";
import type { Manifest } from "../image/manifest.ts";
import type { ImageSummary } from "./catalog.ts";

/** What the catalog keeps of an image, for listings. */
export function summaryOf(image: {
  digest: string;
  manifest: Manifest;
  manifestBytes: number;
  config: ImageConfig;
}): ImageSummary & { manifestBytes: number } {
  const { doppel } = image.config;
  const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);
  return {
    digest: image.digest,
    created: image.config.created,
    host: doppel.host,
    os: osName(doppel.facts),
    grade: doppel.grade,
    disks: doppel.disks.length,
    diskBytes: sum(doppel.disks.map((disk) => disk.sizeBytes)),
    dataBytes: sum(doppel.disks.map((disk) => disk.dataBytes)),
    storedBytes: sum(image.manifest.layers.map((layer) => layer.size)) + image.manifest.config.size,
    readErrors: sum(doppel.disks.map((disk) => disk.readErrors.length)),
    parent: doppel.lineage.parent,
    manifestBytes: image.manifestBytes,
  };
}

/** The operating system's name out of the machine facts, for listings; `-` when they have none. */
function osName(facts: Record<string, unknown>): string {
  const os = facts.os;
  if (typeof os !== "object" || os === null || !("prettyName" in os)) return "-";
  return typeof os.prettyName === "string" ? os.prettyName : "-";
}
