import { BOOT_TEST_RESULT } from "../freezer/boot-evidence.ts";
import type { ConversionRecord } from "../image/config.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import type { Attachment } from "../store/catalog.ts";
import type { StoredImage } from "../store/image-store.ts";
import { formatBytes } from "../units.ts";
import { type ImageDrawing, layoutText, lineageText } from "./image-drawing.ts";
import { table } from "./output.ts";
import { regionRows } from "./regions-text.ts";

/** The text of `doppel images show`. */
export function describeImage(
  image: StoredImage,
  tags: readonly { name: string; tag: string }[],
  boots: readonly Attachment[],
  drawing: ImageDrawing,
): string {
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
    ...boots.map(({ annotations, digest }) => `boots     ${annotations[BOOT_TEST_RESULT]} (${digest})`),
    ...(doppel.firmwareVariables ? [`firmware  UEFI variables ${doppel.firmwareVariables}`] : []),
  ];
  const { lineageTree } = drawing;
  if (lineageTree.children.length > 0) lines.push("", lineageText(lineageTree, image.digest).trimEnd());
  if (doppel.conversion) lines.push("", ...conversionLines(doppel.conversion));
  for (const [index, disk] of doppel.disks.entries()) {
    const layout = drawing.disks[index]?.layout;
    lines.push(
      "",
      `disk ${disk.name}: ${formatBytes(disk.sizeBytes)}, ${formatBytes(disk.dataBytes)} of data`,
    );
    lines.push(layout ? layoutText(layout).trimEnd() : "  its map cannot be read");
    lines.push(table(regionRows(disk.regions), [3, 4]).trimEnd());
    for (const error of disk.readErrors) {
      lines.push(
        `  not readable, taken as zeros: cluster ${error.cluster} (byte ${error.offsetBytes}): ${error.message}`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

function conversionLines({ target, steps }: ConversionRecord): string[] {
  const lines = [`converted to ${target}:`];
  for (const { what, files, settings = [] } of steps) {
    lines.push(`  ${what}`);
    for (const { path, original } of files)
      lines.push(`    ${path}${original ? `, was ${original}` : ", new"}`);
    for (const setting of settings) lines.push(`    ${setting}`);
  }
  return lines;
}
