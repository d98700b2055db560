import type { Comparison } from "../capture/bases.ts";
import type { PreparedCapture } from "../capture/prepare.ts";
import type { PlannedDisk } from "../machine/plan.ts";
import { formatBytes } from "../units.ts";
import { table } from "./output.ts";
import { regionRows } from "./regions-text.ts";

/** Disks and their parts, and what is used of them. */
export function describeDisks(disks: readonly PlannedDisk[]): string {
  return disks
    .map(({ device, sizeBytes, usedBytes, table: kind, regions }) => {
      const what = `${device}: ${formatBytes(sizeBytes)}, ${formatBytes(usedBytes)} used, partition table ${kind}\n`;
      return what + table(regionRows(regions), [3, 4]);
    })
    .join("");
}

/** What will be captured how, and what the pre-flight check says. */
export function describePlan(prepared: PreparedCapture, comparisons: readonly Comparison[] = []): string {
  const parts = [describeDisks(prepared.disks)];
  for (const note of prepared.verdict.notes) {
    parts.push(`note: ${note.message}${note.hint ? ` (${note.hint})` : ""}\n`);
  }
  for (const refusal of prepared.verdict.refusals) parts.push(`refused: ${refusal.message}\n`);
  for (const comparison of comparisons) parts.push(describeComparison(comparison));
  parts.push(`consistency grade: ${prepared.expectedGrade}\n`);
  return parts.join("");
}

function describeComparison({ device, with: from, knownBytes }: Comparison): string {
  if (from === null) return "";
  const what = from === "parent" ? "the parent" : "what an interrupted capture had received";
  return `${device}: compared with ${what}, ${formatBytes(knownBytes)} of it\n`;
}
