import { existsSync, realpathSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const NAME = "catalog.reserve";
const RESERVE_BYTES = 1 << 20;
/** A disk with less than this free is not made fuller. */
const ROOMY_BYTES = 8 * RESERVE_BYTES;
/** With less than this free a way back would end for want of space. */
const NARROW_BYTES = RESERVE_BYTES / 2;

/** Keeps some space back on the disk of the catalog: a full one shall keep nobody from a way back, and leave no switch unwatched. */
export function keepReserve(catalog: string): void {
  const { folder, freeBytes } = diskOf(catalog);
  if (freeBytes < ROOMY_BYTES) return;
  try {
    writeFileSync(join(folder, NAME), Buffer.alloc(RESERVE_BYTES), { flag: "wx", mode: 0o600 });
  } catch {
    // It is there already, or another one has taken the space just now.
  }
}

/** Gives the space free that was kept back, when there is hardly any other. */
export function useReserve(catalog: string): void {
  if (!existsSync(catalog)) return;
  const { folder, freeBytes } = diskOf(catalog);
  if (freeBytes < NARROW_BYTES) rmSync(join(folder, NAME), { force: true });
}

function diskOf(catalog: string): { folder: string; freeBytes: number } {
  const folder = dirname(realpathSync(catalog));
  const { bavail, bsize } = statfsSync(folder);
  return { folder, freeBytes: bavail * bsize };
}
