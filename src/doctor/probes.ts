import type { Probe } from "./probe.ts";
import { agentProbe } from "./probes/agent.ts";
import { guestfsProbe } from "./probes/guestfs.ts";
import { kvmProbe } from "./probes/kvm.ts";
import { libvirtProbe } from "./probes/libvirt.ts";
import { nativeProbe } from "./probes/native.ts";
import { ovmfProbe } from "./probes/ovmf.ts";
import { qemuProbe } from "./probes/qemu.ts";
import { spaceProbe } from "./probes/space.ts";
import { sshProbe } from "./probes/ssh.ts";

/** In the order of a capture's life: reach, read, store, export, start. */
export const PROBES: readonly Probe[] = [
  sshProbe,
  agentProbe,
  nativeProbe,
  spaceProbe,
  qemuProbe,
  kvmProbe,
  libvirtProbe,
  ovmfProbe,
  guestfsProbe,
];
