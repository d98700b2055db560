import { formatBytes } from "../units.ts";
import type { ListedImage } from "./listed-images.ts";
import { table } from "./output.ts";

/** The table of `doppel images ls`. */
export function imageTable(images: readonly ListedImage[], now: Date): string {
  const rows = [["NAME", "TAG", "HOST", "OS", "GRADE", "DISK", "DATA", "STORED", "AGE", "BOOTS"]];
  for (const image of images) {
    rows.push([
      image.name,
      image.tag,
      image.host,
      image.os,
      image.readErrors > 0 ? `${image.grade}, ${image.readErrors} read errors` : image.grade,
      formatBytes(image.diskBytes),
      formatBytes(image.dataBytes),
      formatBytes(image.storedBytes),
      age(image.created, now),
      image.revoked ? "revoked" : (image.boots ?? "not tested"),
    ]);
  }
  return table(rows, [5, 6, 7]);
}

function age(created: string, now: Date): string {
  const minutes = Math.max(0, Math.floor((now.getTime() - Date.parse(created)) / 60_000));
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h`;
  return `${Math.floor(minutes / (24 * 60))} d`;
}
