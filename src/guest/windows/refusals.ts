import { DoppelError, EXIT } from "../../errors.ts";
import type { Guestfish } from "../guestfish.ts";
import type { Hive } from "./hive.ts";
import { isNtfsDirty } from "./ntfs-state.ts";
import type { partitionTypes } from "./partition-types.ts";

const SHUT_DOWN = "start the machine, run 'shutdown /s /f /t 0', and capture it again";
/** Logical Disk Manager: a partition of MBR, metadata and data of GPT. */
const DYNAMIC = ["0x42", "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3", "AF9B60A0-1431-4F62-BC68-3311714A69AD"];
/** What `ntfs-3g.probe` says of a hibernated volume, and of one that was not unmounted; its manual, "Exit codes". */
const HIBERNATED = "14";
const NOT_UNMOUNTED = "15";

/** Refuses a volume that must not be written to: `conversion-refused` (exit 3). */
export async function checkWindowsVolume(
  guestfish: Guestfish,
  device: string,
  partitions: Awaited<ReturnType<typeof partitionTypes>>,
): Promise<void> {
  const dynamic = partitions.find(({ type }) => type !== undefined && DYNAMIC.includes(type));
  if (dynamic)
    throw refused(
      `${dynamic.device} of the guest is a part of a dynamic disk`,
      "make the disk a basic one first",
    );
  const state = await guestfish.tryRun("ntfs-3g-probe", "true", device);
  if (state === HIBERNATED)
    throw refused(`${device} of the guest is hibernated, by Fast Startup perhaps`, SHUT_DOWN);
  if (state === NOT_UNMOUNTED) throw refused(`${device} of the guest was not shut down cleanly`, SHUT_DOWN);
  if (state !== "0") throw refused(`${device} of the guest is no NTFS that can be written to`, SHUT_DOWN);
  if (await isNtfsDirty(guestfish, device))
    throw refused(`${device} of the guest is marked as dirty`, "run 'chkdsk /f' on it, and capture it again");
}

/** Refuses a hive whose last changes are only in its log: Windows would carry them over ours. */
export function checkHive(hive: Hive): void {
  if (hive.isClean) return;
  throw refused(`the registry hive ${hive.path} has changes that are only in its log`, SHUT_DOWN);
}

/** Refuses what is asked for and what Windows has other ways for. */
export function refused(what: string, hint: string): DoppelError {
  return new DoppelError("conversion-refused", what, { hint, exitCode: EXIT.refused });
}
