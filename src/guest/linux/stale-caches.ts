import { putAside } from "../changes.ts";
import type { GuestContext, Step } from "../step.ts";

/** What a system remembers of its disks, and makes again by itself. */
const CACHES = [
  "/etc/blkid/blkid.tab",
  "/run/blkid/blkid.tab",
  "/etc/lvm/cache/.cache",
  "/etc/lvm/devices/system.devices",
  "/boot/grub/device.map",
  "/boot/grub2/device.map",
  "/etc/multipath/wwids",
  "/etc/multipath/bindings",
];

/** Removes what the system remembers of disks that are no longer there. */
export async function planStaleCaches({ guestfish }: GuestContext): Promise<Step[]> {
  const found: string[] = [];
  for (const path of CACHES) if ((await guestfish.tryRun("is-file", path)) === "true") found.push(path);
  if (found.length === 0) return [];
  return [
    {
      name: "stale-caches",
      what: `${found.join(", ")} put aside`,
      why: "they name the disks of the old hardware; LVM would not look at others",
      apply: async () => {
        const changed = [];
        for (const path of found) changed.push(await putAside(guestfish, path));
        return changed;
      },
    },
  ];
}
