import { DoppelError, EXIT } from "../errors.ts";
import { formatBytes } from "../units.ts";
import type { Guestfish } from "./guestfish.ts";
import type { Step } from "./step.ts";

/** What a file system keeps for its own tables and for small files of steps that do not count them. */
const RESERVE_BYTES = 2 * 1024 * 1024;

/** Refuses a plan for which a file system of the guest has no room (`conversion-refused`, exit 3). */
export async function checkFreeSpace(guestfish: Guestfish, steps: readonly Step[]): Promise<void> {
  const mounts = (await guestfish.lines("mountpoints"))
    .map((line) => line.slice(line.indexOf(": ") + 2))
    .sort((a, b) => b.length - a.length);
  const needed = new Map<string, number>();
  for (const { path, bytes } of steps.flatMap(({ adds }) => adds ?? [])) {
    const mount = mounts.find((each) => each === "/" || path === each || path.startsWith(`${each}/`)) ?? "/";
    needed.set(mount, (needed.get(mount) ?? 0) + bytes);
  }
  for (const [mount, bytes] of needed) {
    const free = freeBytes(await guestfish.run("statvfs", mount));
    if (free === undefined || free >= bytes + RESERVE_BYTES) continue;
    throw new DoppelError(
      "conversion-refused",
      `${mount} of the guest has ${formatBytes(free)} free, the conversion needs ${formatBytes(bytes + RESERVE_BYTES)}`,
      {
        hint: `make room on ${mount} of the machine and capture it again, or with 'doppel serve --writable'`,
        exitCode: EXIT.refused,
      },
    );
  }
}

/** From what guestfish prints of statvfs(3): `bsize: 4096` and so on. */
function freeBytes(statvfs: string): number | undefined {
  const value = (name: string) => Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(statvfs)?.[1]);
  const bytes = value("frsize") * value("bavail");
  // Some file systems do not tell.
  return Number.isSafeInteger(bytes) && value("blocks") > 0 ? bytes : undefined;
}
