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
  firmware: { type: "bios" } | { type: "uefi"; code: string; varsTemplate: string; vars: string };
  /** qcow2 overlays, in the order of the machine's disks. */
  disks: { path: string; serial?: string }[];
  nics: { mac?: string; network: string }[];
  consoleLog: string;
  /** Whom QEMU runs as: the owner of the files, which are private. */
  owner: { uid: number; gid: number };
}

const METADATA_NAMESPACE = "https://doppel.example/domain/1";

/** The libvirt domain XML (libvirt, formatdomain) of a description. */
export function domainXml(domain: DomainDescription): string {
  const lines = [
    `<domain type="${domain.type}">`,
    `  <name>${escapeXml(domain.name)}</name>`,
    `  <uuid>${escapeXml(domain.uuid)}</uuid>`,
    `  <metadata><doppel:image xmlns:doppel="${METADATA_NAMESPACE}" digest="${escapeXml(domain.imageDigest)}"/></metadata>`,
    `  <memory unit="b">${domain.memoryBytes}</memory>`,
    `  <vcpu>${domain.cpus}</vcpu>`,
    `  <os>`,
    `    <type arch="${domain.arch}" machine="${escapeXml(domain.machine)}">hvm</type>`,
    ...firmwareLines(domain.firmware),
    `    <boot dev="hd"/>`,
    `  </os>`,
    `  <features><acpi/><apic/></features>`,
    `  <cpu mode="${domain.type === "kvm" ? "host-passthrough" : "maximum"}"/>`,
    `  <on_crash>destroy</on_crash>`,
    `  <devices>`,
    ...domain.disks.flatMap(diskLines),
    ...domain.nics.flatMap(nicLines),
    `    <serial type="pty"><log file="${escapeXml(domain.consoleLog)}" append="on"/><target port="0"/></serial>`,
    `    <channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>`,
    `    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>`,
    `    <video><model type="vga"/></video>`,
    `  </devices>`,
    `  <seclabel type="static" model="dac" relabel="no"><label>+${domain.owner.uid}:+${domain.owner.gid}</label></seclabel>`,
    `</domain>`,
  ];
  return `${lines.join("\n")}\n`;
}

function firmwareLines(firmware: DomainDescription["firmware"]): string[] {
  if (firmware.type === "bios") return [];
  return [
    `    <loader readonly="yes" type="pflash">${escapeXml(firmware.code)}</loader>`,
    `    <nvram template="${escapeXml(firmware.varsTemplate)}">${escapeXml(firmware.vars)}</nvram>`,
  ];
}

function diskLines(disk: DomainDescription["disks"][number], index: number): string[] {
  return [
    `    <disk type="file" device="disk">`,
    `      <driver name="qemu" type="qcow2" discard="unmap"/>`,
    `      <source file="${escapeXml(disk.path)}"/>`,
    `      <target dev="${targetName("vd", index)}" bus="virtio"/>`,
    ...(disk.serial ? [`      <serial>${escapeXml(disk.serial)}</serial>`] : []),
    `    </disk>`,
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

const ENTITIES: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;",
};

/** Text and attribute values; a control character, which XML cannot hold, becomes `?`. */
function escapeXml(text: string): string {
  let escaped = "";
  for (const character of text) escaped += ENTITIES[character] ?? (character < " " ? "?" : character);
  return escaped;
}
