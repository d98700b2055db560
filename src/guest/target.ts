import { DoppelError, EXIT } from "../errors.ts";

/** What a converted machine runs on, and the drivers that it needs there. */
export interface Target {
  name: "kvm" | "vmware" | "hyperv";
  /** Kernel modules for its disks; each group is one device, of which the kernel must have at least one. */
  diskModules: readonly (readonly string[])[];
  /** For its network cards and everything else; those that a kernel does not have are left out. */
  otherModules: readonly string[];
}

const TARGETS: readonly Target[] = [
  {
    name: "kvm",
    diskModules: [["virtio_pci"], ["virtio_blk", "virtio_scsi"]],
    otherModules: [
      "virtio_blk",
      "virtio_scsi",
      "sd_mod",
      "virtio_net",
      "virtio_balloon",
      "virtio_rng",
      "virtio_console",
    ],
  },
  {
    name: "vmware",
    diskModules: [["vmw_pvscsi", "mptspi", "ahci"]],
    otherModules: ["vmw_pvscsi", "mptspi", "ahci", "sd_mod", "vmxnet3", "e1000e"],
  },
  {
    name: "hyperv",
    diskModules: [["hv_vmbus"], ["hv_storvsc"]],
    otherModules: ["sd_mod", "hv_netvsc", "hv_utils"],
  },
];

export const TARGET_NAMES = TARGETS.map(({ name }) => name);

/** The target of that name; `usage` when there is none. */
export function findTarget(name: string): Target {
  const target = TARGETS.find((candidate) => candidate.name === name);
  if (target) return target;
  throw new DoppelError("usage", `'${name}' is not a target`, {
    hint: `one of ${TARGET_NAMES.join(", ")}`,
    exitCode: EXIT.usage,
  });
}
