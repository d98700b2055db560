import type { DoppelConfig } from "../image/config.ts";
import { type DiskLayout, diskLayout, LAYERS, type Layer } from "../image/disk-layout.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { type LineageNode, lineageOf } from "../store/lineage.ts";
import { formatBytes } from "../units.ts";

/** What `images show` draws: the family as a tree, each disk as a bar. */
export interface ImageDrawing {
  lineageTree: LineageNode;
  /** Null: the map of that disk cannot be read. */
  disks: (DoppelConfig["disks"][number] & { layout: DiskLayout | null })[];
}

const CELLS: Record<Layer, string> = { unreadable: "!", changed: "◆", whole: "▓", used: "█", zero: "·" };
const WORDS: Record<Layer, string> = {
  unreadable: "read errors",
  changed: "changed against the parent",
  whole: "taken whole",
  used: "data",
  zero: "zeros",
};
const MARGIN = 4;
const NARROWEST = 20;
const WIDEST = 200;

/** How many cells a bar has: a terminal's width, or what fits on a page. */
export function barWidth(columns: number | undefined): number {
  return Math.max(NARROWEST, Math.min(WIDEST, (columns ?? 80) - MARGIN));
}

/** Reads what there is to draw: the catalog, and the maps. */
export async function drawImage(store: ImageStore, image: StoredImage, width: number): Promise<ImageDrawing> {
  const disks: ImageDrawing["disks"] = [];
  for (const [index, disk] of image.config.doppel.disks.entries())
    disks.push({ ...disk, layout: await layoutOf(store, image, index, width) });
  return { lineageTree: lineageOf(store, image.digest), disks };
}

/** The same for programs: ranges, no cells. */
export function drawingJson({ lineageTree, disks }: ImageDrawing): object {
  const withoutCells = disks.map(({ layout, ...disk }) => {
    if (!layout) return { ...disk, layout };
    const { cells: _, ...ranges } = layout;
    return { ...disk, layout: ranges };
  });
  return { lineageTree, disks: withoutCells };
}

/** Of a damaged image all else is shown. */
async function layoutOf(
  store: ImageStore,
  image: StoredImage,
  index: number,
  width: number,
): Promise<DiskLayout | null> {
  const disk = image.config.doppel.disks[index];
  try {
    await using opened = await store.openDisk(image, index);
    return disk ? await diskLayout(opened.map, disk, width) : null;
  } catch {
    return null;
  }
}

/** A disk as a bar, with what each of its signs means and how much of it there is. */
export function layoutText({ cells, bytes }: DiskLayout): string {
  const bar = cells.map((layer) => CELLS[layer]).join("");
  const legend = LAYERS.filter((layer) => bytes[layer] > 0).map(
    (layer) => `${CELLS[layer]} ${WORDS[layer]} ${formatBytes(bytes[layer])}`,
  );
  return `  [${bar}]\n  ${legend.join("   ")}\n`;
}

/** A family as a tree; the image itself is marked. */
export function lineageText(node: LineageNode, self: string): string {
  return `${nodeText(node, self)}\n${childrenText(node, self, "")}`;
}

function childrenText({ children }: LineageNode, self: string, indent: string): string {
  return children
    .map((child, index) => {
      const last = index === children.length - 1;
      const line = `${indent}${last ? "└─ " : "├─ "}${nodeText(child, self)}\n`;
      return line + childrenText(child, self, `${indent}${last ? "   " : "│  "}`);
    })
    .join("");
}

function nodeText({ digest, names, grade, created, missing }: LineageNode, self: string): string {
  const name = names.length > 0 ? names.join(", ") : digest.slice(0, "sha256:".length + 12);
  const facts = missing ? "not here" : `${grade}, ${created?.slice(0, 16).replace("T", " ")}`;
  return `${name}  ${facts}${digest === self ? "  ◀" : ""}`;
}
