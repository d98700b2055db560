import { MEDIA_TYPES } from "../image/manifest.ts";
import type { TaggedImage } from "../store/catalog.ts";
import type { StoredImage } from "../store/image-store.ts";
import type { VerifyReport } from "../store/verify.ts";
import { formatBytes } from "../units.ts";
import { table } from "./output.ts";
import { regionRows } from "./regions-text.ts";

/** The table of `doppel images ls`. */
export function imageTable(images: readonly TaggedImage[], now: Date): string {
  const heading = ["NAME", "TAG", "HOST", "OS", "GRADE", "DISK", "DATA", "STORED", "AGE"];
  const rows = images.map((image) => [
    image.name,
    image.tag,
    image.host,
    image.os,
    image.readErrors > 0 ? `${image.grade}, ${image.readErrors} read errors` : image.grade,
    formatBytes(image.diskBytes),
    formatBytes(image.dataBytes),
    formatBytes(image.storedBytes),
    age(new Date(image.created), now),
  ]);
  return table([heading, ...rows], [5, 6, 7]);
}

/** The text of `doppel images show`. */
export function describeImage(image: StoredImage, tags: readonly { name: string; tag: string }[]): string {
  const { doppel, created } = image.config;
  const stored = image.manifest.layers.reduce((sum, layer) => sum + layer.size, 0);
  const packs = image.manifest.layers.filter((layer) => layer.mediaType === MEDIA_TYPES.pack).length;
  const lines = [
    `digest    ${image.digest}`,
    `names     ${tags.map(({ name, tag }) => `${name}:${tag}`).join(", ") || "none"}`,
    `host      ${doppel.host}`,
    `created   ${created}`,
    `grade     ${doppel.grade}`,
    `lineage   ${doppel.lineage.kind}${doppel.lineage.parent ? `, child of ${doppel.lineage.parent}` : ""}`,
    `stored    ${formatBytes(stored)} in ${packs} packs`,
    ...(doppel.firmwareVariables ? [`firmware  UEFI variables ${doppel.firmwareVariables}`] : []),
  ];
  for (const disk of doppel.disks) {
    lines.push(
      "",
      `disk ${disk.name}: ${formatBytes(disk.sizeBytes)}, ${formatBytes(disk.dataBytes)} of data`,
    );
    lines.push(table(regionRows(disk.regions), [3, 4]).trimEnd());
    for (const error of disk.readErrors) {
      lines.push(
        `  not readable, taken as zeros: cluster ${error.cluster} (byte ${error.offsetBytes}): ${error.message}`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

/** The text of `doppel images verify`. */
export function verifyText(ref: string, report: VerifyReport, elapsed: string): string {
  const looked = `${report.blobs} blobs, ${report.frames} frames, ${formatBytes(report.bytes)} in ${elapsed}`;
  if (report.findingCount === 0) return `${ref} is whole: ${looked}\n`;
  const lines = [`${ref} differs in ${report.findingCount} places (${looked}):`];
  for (const finding of report.findings) {
    lines.push(`  ${finding.blob}: ${finding.message}`);
    for (const { disk, cluster, count, offsetBytes } of finding.hurts) {
      const which = count === 1 ? `cluster ${cluster}` : `clusters ${cluster} to ${cluster + count - 1}`;
      lines.push(`    hurts disk ${disk}, ${which} (byte ${offsetBytes})`);
    }
  }
  return `${lines.join("\n")}\n`;
}

function age(created: Date, now: Date): string {
  const minutes = Math.max(0, Math.floor((now.getTime() - created.getTime()) / 60_000));
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h`;
  return `${Math.floor(minutes / (24 * 60))} d`;
}
