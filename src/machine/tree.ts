import { formatBytes } from "../units.ts";
import { blockStack, type StackNode } from "./block-stack.ts";
import type { BlockDevice, MachineFacts, Nic } from "./facts.ts";

/** Machine facts as a tree for people, one line an element. */
export function describeFacts(facts: MachineFacts): string {
  const { hardware, firmware, os } = facts;
  const machine = [hardware.vendor, hardware.product].filter(Boolean).join(" ");
  const lines = [
    `${os.hostname ?? "?"}: ${os.prettyName ?? "unknown system"}, kernel ${os.kernel ?? "?"}`,
    `  hardware   ${machine || "unknown"}, ${hardware.cpus} × ${hardware.cpuModel ?? hardware.arch ?? "CPU"}, ` +
      `${formatBytes(hardware.memoryBytes)} memory${hardware.hypervisor ? ", itself a virtual machine" : ""}`,
    `  firmware   ${describeFirmware(firmware)}`,
    `  boot       ${os.bootLoader ?? "unknown"}; kernels ${os.kernels.join(", ") || "none found"}`,
    `  licence    ${os.licenceFamily ?? "none"}`,
    "  network",
    ...facts.nics.filter((nic) => nic.kind !== "virtual").map((nic) => `    ${describeNic(nic)}`),
    "  disks",
    ...blockStack(facts).flatMap((node) => describeNode(node, "    ")),
    `  modules    ${facts.modules.length} loaded`,
    ...(facts.assumed?.length ? [`  assumed    ${facts.assumed.join(", ")}: nobody told`] : []),
  ];
  return `${lines.join("\n")}\n`;
}

function describeFirmware(firmware: MachineFacts["firmware"]): string {
  if (firmware.type === "bios") return "BIOS";
  const order = firmware.bootOrder?.map((entry) => entry.label ?? entry.id).join(", ");
  return `UEFI${firmware.secureBoot ? ", secure boot" : ""}${order ? `; boots ${order}` : ""}`;
}

function describeNic(nic: Nic): string {
  const addresses = nic.addresses.map(({ address, prefix }) => `${address}/${prefix}`).join(", ");
  const parts = [nic.mac, nic.driver, nic.state, nic.speedMbps ? `${nic.speedMbps} Mbit/s` : undefined];
  const described = parts.filter(Boolean).join(", ");
  return `${nic.name} (${nic.kind})  ${described}${addresses ? `  ${addresses}` : ""}${nic.master ? `  in ${nic.master}` : ""}`;
}

function describeNode({ device, children }: StackNode, indent: string): string[] {
  return [
    `${indent}${describeDevice(device)}`,
    ...children.flatMap((child) => describeNode(child, `${indent}  `)),
  ];
}

function describeDevice(device: BlockDevice): string {
  const kind = device.mdLevel ?? device.dmName ?? device.kind;
  const parts = [`${device.name}  ${formatBytes(device.sizeBytes)}  ${kind}`];
  if (device.model) parts.push(`${device.model}${device.transport ? ` (${device.transport})` : ""}`);
  if (device.table) parts.push(device.table.toUpperCase());
  if (device.fsType) parts.push(device.fsType);
  if (device.fsLabel) parts.push(`'${device.fsLabel}'`);
  for (const mount of device.mounts) {
    const used = mount.usedBytes === undefined ? "" : ` ${formatBytes(mount.usedBytes)} used`;
    parts.push(`on ${mount.path}${mount.writable ? "" : " (read-only)"}${used}`);
  }
  return parts.join("  ");
}
