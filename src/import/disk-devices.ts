import type { BlockDevice } from "../machine/facts.ts";
import type { CapturePlan, PlannedDisk } from "../machine/plan.ts";

/** The name that a disk gets by its place, as Linux counts them: sda to sdz, sdaa, and so on. */
export function diskName(index: number): string {
  let letters = "";
  for (let left = index; left >= 0; left = Math.floor(left / 26) - 1)
    letters = String.fromCharCode(97 + (left % 26)) + letters;
  return `sd${letters}`;
}

/** Regions that are no file system. */
const NOT_A_FILE_SYSTEM = new Set(["unknown", "bios-boot", "partition-table", "boot-gap", "gap"]);

/** Disks and partitions as block devices of the machine facts, by what was read of them. */
export function blockDevices(plan: CapturePlan, labels: readonly string[]): BlockDevice[] {
  return plan.disks.flatMap((disk, index) => {
    const name = diskName(index);
    return [wholeDisk(disk, name, labels[index]), ...partitions(disk, name)];
  });
}

function wholeDisk(disk: PlannedDisk, name: string, backingFile: string | undefined): BlockDevice {
  const alone = disk.table === "none" && disk.regions.length === 1 ? disk.regions[0]?.kind : undefined;
  return {
    ...device(name, "disk", disk.sizeBytes, disk.logicalSectorBytes, []),
    ...(disk.table === "none" ? {} : { table: disk.table }),
    ...(alone === undefined || NOT_A_FILE_SYSTEM.has(alone) ? {} : { fsType: alone }),
    ...(backingFile === undefined ? {} : { backingFile }),
  };
}

function partitions(disk: PlannedDisk, diskName: string): BlockDevice[] {
  return disk.regions.flatMap(({ partition, offsetBytes, lengthBytes, kind }) => {
    if (!partition) return [];
    return {
      ...device(`${diskName}${partition}`, "partition", lengthBytes, disk.logicalSectorBytes, [diskName]),
      partition,
      startBytes: offsetBytes,
      ...(NOT_A_FILE_SYSTEM.has(kind) ? {} : { fsType: kind }),
    };
  });
}

/** A device of which nothing else is known. */
export function device(
  name: string,
  kind: string,
  sizeBytes: number,
  sectorBytes: number,
  parents: string[],
): BlockDevice {
  return {
    name,
    path: `/dev/${name}`,
    kind,
    sizeBytes,
    logicalSectorBytes: sectorBytes,
    physicalSectorBytes: sectorBytes,
    removable: false,
    readOnly: false,
    parents,
    links: [],
    mounts: [],
  };
}
