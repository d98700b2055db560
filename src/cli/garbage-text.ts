import type { GarbageReport } from "../store/gc.ts";
import type { Hold } from "../store/holders.ts";
import { formatBytes } from "../units.ts";

/** What a garbage collection did, and what it left for the next one. */
export function garbageText(report: GarbageReport): string {
  const { dryRun, blobs, uploads, freedBytes, waitingBlobs, waitingBytes, waitsFor } = report;
  const removed = `${blobs} blobs and ${uploads} unfinished files`;
  const lines = [`${removed}: ${formatBytes(freedBytes)} ${dryRun ? "would be freed" : "freed"}`];
  if (waitingBlobs > 0) {
    const until = waitsFor
      ? `process ${waitsFor.pid}, which works since ${waitsFor.since}, has ended and 'doppel images gc' runs again`
      : "'doppel images gc' runs after the grace period, or with --grace 0s";
    lines.push(`${waitingBlobs} blobs, ${formatBytes(waitingBytes)}, lie in quarantine until ${until}`);
  }
  return `${lines.join("\n")}\n`;
}

/** What keeps an image, for people. */
export function holdText({ kind, by }: Hold): string {
  if (kind === "name") return by;
  return kind === "process" ? by : `${kind} ${by}`;
}
