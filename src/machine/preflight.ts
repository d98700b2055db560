import { formatBytes } from "../units.ts";
import { devicesOn, disksUnder } from "./block-stack.ts";
import type { BlockDevice, MachineFacts } from "./facts.ts";
import type { CapturePlan } from "./plan.ts";

export interface Remark {
  code: string;
  message: string;
  hint?: string;
}

/** What the pre-flight check says about a capture. */
export interface Verdict {
  outcome: "ready" | "ready-with-notes" | "refused";
  refusals: Remark[];
  notes: Remark[];
}

/** Disks that a capture takes when none is named: fixed disks that hold something mounted or a partition table. */
export function chooseDisks(facts: MachineFacts): string[] {
  return facts.block
    .filter((device) => isFixedDisk(device) && holdsSomething(facts, device))
    .map((disk) => disk.path);
}

/** Compares the chosen disks with the machine: what would be wrong is refused, what one should know is noted. */
export function preflight(
  facts: MachineFacts,
  plan: CapturePlan,
  wanted: { offlineOnly?: boolean; fuzzy?: boolean } = {},
): Verdict {
  const refusals = plan.disks.flatMap((disk) => [
    ...(disk.sizeBytes === 0 ? [noBytes(disk.device)] : []),
    ...(wanted.offlineOnly && disk.writable ? [inUse(disk.device, disk.mounted)] : []),
  ]);
  const syncing = syncingArrays(facts, plan);
  if (!wanted.fuzzy) refusals.push(...syncing);
  const notes = [
    ...(wanted.fuzzy ? syncing : []),
    ...splitStacks(facts, plan),
    ...wholeRegions(plan),
    ...leftOut(facts, plan),
    ...swap(plan),
  ];
  const outcome = refusals.length > 0 ? "refused" : notes.length > 0 ? "ready-with-notes" : "ready";
  return { outcome, refusals, notes };
}

function isFixedDisk(device: BlockDevice): boolean {
  return device.kind === "disk" && !device.removable && device.parents.length === 0;
}

function holdsSomething(facts: MachineFacts, disk: BlockDevice): boolean {
  const names = devicesOn(facts, disk.name);
  if (disk.table || disk.fsType) return true;
  return facts.block.some((device) => names.has(device.name) && device.mounts.length > 0);
}

function noBytes(device: string): Remark {
  return { code: "disk-empty", message: `${device} has no bytes`, hint: "is the medium in the drive?" };
}

function inUse(device: string, mountpoints: readonly string[]): Remark {
  return {
    code: "disk-in-use",
    message: `${device} is not offline: ${mountpoints.join(", ")} can be written`,
    hint: "unmount it, or capture with --mode auto",
  };
}

const SYNCING = new Set(["resync", "recover", "repair", "reshape"]);

/** While an array is made consistent its disks change, frozen or not: copied one after another they do not fit together. */
function syncingArrays(facts: MachineFacts, plan: CapturePlan): Remark[] {
  const chosen = new Set(plan.disks.map((disk) => disk.device));
  return facts.block
    .filter((device) => SYNCING.has(device.mdSyncAction ?? ""))
    .filter((device) => disksUnder(facts, device).some((disk) => chosen.has(disk)))
    .map((device) => ({
      code: "array-syncing",
      message: `the disks of ${device.path} are being changed by its ${device.mdSyncAction}: in the image they would not fit together`,
      hint: "wait for it (mdadm --wait), or capture with --mode fuzzy",
    }));
}

/** A volume group or an array that spans a disk which is not captured cannot be put together again. */
function splitStacks(facts: MachineFacts, plan: CapturePlan): Remark[] {
  const chosen = new Set(plan.disks.map((disk) => disk.device));
  const remarks: Remark[] = [];
  for (const device of facts.block) {
    const disks = disksUnder(facts, device);
    const missing = disks.filter((disk) => !chosen.has(disk));
    if (disks.length < 2 || missing.length === 0 || missing.length === disks.length) continue;
    remarks.push({
      code: "stack-split",
      message: `${device.name} (${device.kind}) lies on ${disks.join(" and ")}, of which ${missing.join(", ")} is not captured`,
      hint: `add ${missing.map((disk) => `--disk ${disk}`).join(" ")}`,
    });
  }
  return remarks;
}

function wholeRegions(plan: CapturePlan): Remark[] {
  return plan.disks.flatMap((disk) =>
    disk.regions
      .filter((region) => region.method === "whole" && region.reason)
      .map((region) => ({
        code: "taken-whole",
        message: `${region.path ?? `${disk.device} at byte ${region.offsetBytes}`} (${region.kind}, ${formatBytes(region.lengthBytes)}) is taken whole: ${region.reason}`,
      })),
  );
}

function leftOut(facts: MachineFacts, plan: CapturePlan): Remark[] {
  const chosen = new Set(plan.disks.map((disk) => disk.device));
  return chooseDisks(facts)
    .filter((disk) => !chosen.has(disk))
    .map((disk) => ({ code: "disk-left-out", message: `${disk} is not captured` }));
}

function swap(plan: CapturePlan): Remark[] {
  return plan.disks
    .filter((disk) => disk.swapActive)
    .map((disk) => ({
      code: "swap-header-only",
      message: `of the swap space on ${disk.device} only the header is kept`,
    }));
}
