import type { PreparedCapture } from "../capture/prepare.ts";
import { formatBytes } from "../units.ts";
import { table } from "./output.ts";
import { regionRows } from "./regions-text.ts";

/** What will be captured how, and what the pre-flight check says. */
export function describePlan(prepared: PreparedCapture): string {
  const parts: string[] = [];
  for (const disk of prepared.disks) {
    const used = formatBytes(disk.usedBytes);
    parts.push(
      `${disk.device}: ${formatBytes(disk.sizeBytes)}, ${used} used, partition table ${disk.table}\n`,
    );
    parts.push(table(regionRows(disk.regions), [3, 4]));
  }
  for (const note of prepared.verdict.notes) {
    parts.push(`note: ${note.message}${note.hint ? ` (${note.hint})` : ""}\n`);
  }
  for (const refusal of prepared.verdict.refusals) parts.push(`refused: ${refusal.message}\n`);
  parts.push(`consistency grade: ${prepared.expectedGrade}\n`);
  return parts.join("");
}
