import { escapeXml } from "../xml.ts";

/** How a machine's disks are attached. */
export const DISK_BUSES = ["virtio-blk", "virtio-scsi", "sata", "nvme"] as const;
export type DiskBus = (typeof DISK_BUSES)[number];

/** Everything that a domain's XML says. Paths are absolute. */
export interface DomainDescription {
  name: string;
  uuid: string;
  /** Digest of the image, kept in the domain's metadata. */
  imageDigest: string;
  type: "kvm" | "qemu";
  /** Expanded machine type: `pc-q35-7.2`. */
  machine: string;
  arch: "x86_64" | "aarch64";
  cpus: number;
  memoryBytes: number;
  /** What the machine's clock shows: Windows takes it for the local time. */
  clock: "utc" | "localtime";
  /** `uefi-chosen`: libvirt of the host finds the firmware, and keeps its variables. */
  firmware:
    | { type: "bios" }
    | { type: "uefi"; code: string; varsTemplate: string; vars: string }
    | { type: "uefi-chosen" };
  /** qcow2 overlays, in the order of the machine's disks. */
  disks: { path: string; serial?: string }[];
  diskBus: DiskBus;
  /** An ISO with the guest's first configuration. */
  seed?: string;
  nics: { mac?: string; network: string }[];
  /** Without it only the terminal is there (virsh console). */
  consoleLog?: string;
  /** Whom QEMU runs as: the owner of the files, which are private. Without it libvirt chooses, and gives it the files. */
  owner?: { uid: number; gid: number };
}

const QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0";
const METADATA_NAMESPACE = "https://doppel.example/domain/1";

/** The libvirt domain XML (libvirt, formatdomain) of a description. */
export function domainXml(domain: DomainDescription): string {
  const lines = [
    `<domain type="${domain.type}" xmlns:qemu="${QEMU_NAMESPACE}">`,
    `  <name>${escapeXml(domain.name)}</name>`,
    `  <uuid>${escapeXml(domain.uuid)}</uuid>`,
    `  <metadata><doppel:image xmlns:doppel="${METADATA_NAMESPACE}" digest="${escapeXml(domain.imageDigest)}"/></metadata>`,
    `  <memory unit="b">${domain.memoryBytes}</memory>`,
    `  <vcpu>${domain.cpus}</vcpu>`,
    domain.firmware.type === "uefi-chosen" ? `  <os firmware="efi">` : `  <os>`,
    `    <type arch="${domain.arch}" machine="${escapeXml(domain.machine)}">hvm</type>`,
    ...firmwareLines(domain.firmware),
    ...(domain.diskBus === "nvme" ? [] : [`    <boot dev="hd"/>`]),
    `  </os>`,
    `  <features><acpi/><apic/></features>`,
    `  <cpu mode="${domain.type === "kvm" ? "host-passthrough" : "maximum"}"/>`,
    `  <clock offset="${domain.clock}"/>`,
    `  <on_crash>destroy</on_crash>`,
    `  <devices>`,
    ...(domain.diskBus === "virtio-scsi" ? [`    <controller type="scsi" model="virtio-scsi"/>`] : []),
    ...(domain.diskBus === "nvme" ? [] : domain.disks.flatMap(diskLines(domain.diskBus))),
    ...(domain.seed === undefined ? [] : seedLines(domain.seed, domain.disks.length)),
    ...domain.nics.flatMap(nicLines),
    `    <serial type="pty">${consoleLog(domain.consoleLog)}<target port="0"/></serial>`,
    `    <channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>`,
    `    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>`,
    `    <video><model type="vga"/></video>`,
    `  </devices>`,
    ...(domain.owner ? [ownerLine(domain.owner)] : []),
    ...(domain.diskBus === "nvme" ? nvmeLines(domain.disks) : []),
    `</domain>`,
  ];
  return `${lines.join("\n")}\n`;
}

function firmwareLines(firmware: DomainDescription["firmware"]): string[] {
  if (firmware.type !== "uefi") return [];
  return [
    `    <loader readonly="yes" type="pflash">${escapeXml(firmware.code)}</loader>`,
    `    <nvram template="${escapeXml(firmware.varsTemplate)}">${escapeXml(firmware.vars)}</nvram>`,
  ];
}

function consoleLog(path: string | undefined): string {
  return path === undefined ? "" : `<log file="${escapeXml(path)}" append="on"/>`;
}

function ownerLine({ uid, gid }: { uid: number; gid: number }): string {
  return `  <seclabel type="static" model="dac" relabel="no"><label>+${uid}:+${gid}</label></seclabel>`;
}

/** A CD drive; its name follows those of all disks, whatever their bus. */
function seedLines(path: string, disks: number): string[] {
  return [
    `    <disk type="file" device="cdrom">`,
    `      <driver name="qemu" type="raw"/>`,
    `      <source file="${escapeXml(path)}"/>`,
    `      <target dev="${targetName("sd", disks)}" bus="sata"/>`,
    `      <readonly/>`,
    `    </disk>`,
  ];
}

/** What libvirt calls a bus, and the names of the disks on it. */
const TARGETS = {
  "virtio-blk": { bus: "virtio", prefix: "vd" },
  "virtio-scsi": { bus: "scsi", prefix: "sd" },
  sata: { bus: "sata", prefix: "sd" },
} as const;

type Disk = DomainDescription["disks"][number];

function diskLines(diskBus: keyof typeof TARGETS): (disk: Disk, index: number) => string[] {
  const { bus, prefix } = TARGETS[diskBus];
  return (disk, index) => [
    `    <disk type="file" device="disk">`,
    `      <driver name="qemu" type="qcow2" discard="unmap"/>`,
    `      <source file="${escapeXml(disk.path)}"/>`,
    `      <target dev="${targetName(prefix, index)}" bus="${bus}"/>`,
    ...(disk.serial ? [`      <serial>${escapeXml(disk.serial)}</serial>`] : []),
    `    </disk>`,
  ];
}

/** libvirt 9 has no NVMe disks: QEMU's own arguments (formatdomain, "QEMU command-line passthrough"). */
function nvmeLines(disks: readonly Disk[]): string[] {
  const args = disks.flatMap(({ path, serial }, index) => [
    "-drive",
    // A comma in a value of QEMU's options is doubled.
    `if=none,id=nvme-disk${index},format=qcow2,discard=unmap,file=${path.replaceAll(",", ",,")}`,
    "-device",
    `nvme,drive=nvme-disk${index},serial=${(serial ?? `doppel-${index}`).replaceAll(",", ",,")},bootindex=${index + 1}`,
  ]);
  return [
    `  <qemu:commandline>`,
    ...args.map((arg) => `    <qemu:arg value="${escapeXml(arg)}"/>`),
    `  </qemu:commandline>`,
  ];
}

/** vda to vdz, then vdaa, vdab and so on, as Linux counts disks. */
export function targetName(prefix: string, index: number): string {
  let letters = "";
  for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1)
    letters = String.fromCharCode(97 + (rest % 26)) + letters;
  return prefix + letters;
}

function nicLines(nic: DomainDescription["nics"][number]): string[] {
  return [
    `    <interface type="network">`,
    `      <source network="${escapeXml(nic.network)}"/>`,
    ...(nic.mac ? [`      <mac address="${escapeXml(nic.mac)}"/>`] : []),
    `      <model type="virtio"/>`,
    `    </interface>`,
  ];
}
