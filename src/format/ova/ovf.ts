import type { MachineFacts } from "../../machine/facts.ts";
import { escapeXml } from "../../xml.ts";

/** One disk of the appliance. */
export interface OvfDisk {
  fileName: string;
  /** Bytes of its file. */
  fileBytes: number;
  capacityBytes: number;
}

export interface OvfMachine {
  name: string;
  cpus: number;
  memoryBytes: number;
  firmware: "bios" | "uefi";
  /** The guest has VMware's own drivers: paravirtual SCSI and vmxnet3. */
  paravirtual: boolean;
  macs: string[];
  os: { id: number; vmware: string; description: string };
  disks: readonly OvfDisk[];
}

const STREAM_FORMAT = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";
const MIB = 1024 * 1024;

/** CIM_OperatingSystem's OsType, and VMware's name, by the id of os-release(5). */
const SYSTEMS: readonly { id: RegExp; cim: number; vmware: string }[] = [
  { id: /^debian$/, cim: 96, vmware: "debian11_64Guest" },
  { id: /^ubuntu$/, cim: 94, vmware: "ubuntu64Guest" },
  { id: /^(rhel|redhat)$/, cim: 80, vmware: "rhel8_64Guest" },
  { id: /^(centos|rocky|almalinux|ol)$/, cim: 107, vmware: "centos8_64Guest" },
  { id: /^(sles|sled)$/, cim: 85, vmware: "sles15_64Guest" },
  { id: /^windows/, cim: 103, vmware: "windows9Server64Guest" },
];
const OTHER_LINUX = { cim: 101, vmware: "other4xLinux64Guest" };

export function systemOf(facts: MachineFacts): OvfMachine["os"] {
  const found = SYSTEMS.find(({ id }) => id.test(facts.os.id ?? "")) ?? OTHER_LINUX;
  return { id: found.cim, vmware: found.vmware, description: facts.os.prettyName ?? "Linux" };
}

/**
 * The OVF descriptor (DMTF DSP0243, 1.1). Its length does not depend on the sizes of the files, which are known last: numbers
 * have leading zeros, which xs:unsignedLong allows.
 */
export function ovfDescriptor(machine: OvfMachine): string {
  const { disks } = machine;
  const files = disks.map(
    ({ fileName, fileBytes }, index) =>
      `    <File ovf:id="file${index}" ovf:href="${escapeXml(fileName)}" ovf:size="${padded(fileBytes)}"/>`,
  );
  const sections = disks.map(
    ({ capacityBytes }, index) =>
      `    <Disk ovf:diskId="disk${index}" ovf:fileRef="file${index}" ovf:capacity="${capacityBytes}" ovf:format="${STREAM_FORMAT}"/>`,
  );
  return `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
${files.join("\n")}
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
${sections.join("\n")}
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="VM Network">
      <Description>The network of the machine</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="${escapeXml(machine.name)}">
    <Info>A virtual machine</Info>
    <Name>${escapeXml(machine.name)}</Name>
    <OperatingSystemSection ovf:id="${machine.os.id}" vmw:osType="${machine.os.vmware}">
      <Info>The operating system</Info>
      <Description>${escapeXml(machine.os.description)}</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>${escapeXml(machine.name)}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
${items(machine).map(itemXml).join("\n")}
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="${machine.firmware === "uefi" ? "efi" : "bios"}"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`;
}

/** CIM_ResourceAllocationSettingData's ResourceType. */
const RESOURCE = { processor: 3, memory: 4, scsiController: 6, ethernet: 10, disk: 17 } as const;

/** Members of an Item, in the order of the alphabet, which its schema demands. */
type Item = Record<string, string | number>;

function items(machine: OvfMachine): Item[] {
  const controller = 3;
  const list: Item[] = [
    {
      AllocationUnits: "hertz * 10^6",
      ElementName: `${machine.cpus} processors`,
      InstanceID: 1,
      ResourceType: RESOURCE.processor,
      VirtualQuantity: machine.cpus,
    },
    {
      AllocationUnits: "byte * 2^20",
      ElementName: "Memory",
      InstanceID: 2,
      ResourceType: RESOURCE.memory,
      VirtualQuantity: Math.ceil(machine.memoryBytes / MIB),
    },
    {
      Address: 0,
      ElementName: "SCSI controller",
      InstanceID: controller,
      ResourceSubType: machine.paravirtual ? "VirtualSCSI" : "lsilogic",
      ResourceType: RESOURCE.scsiController,
    },
  ];
  for (const index of machine.disks.keys()) {
    list.push({
      // Seven is the controller's own address.
      AddressOnParent: index < 7 ? index : index + 1,
      ElementName: `Disk ${index}`,
      HostResource: `ovf:/disk/disk${index}`,
      InstanceID: 10 + index,
      Parent: controller,
      ResourceType: RESOURCE.disk,
    });
  }
  for (const [index, mac] of machine.macs.entries()) {
    list.push({
      Address: mac,
      AddressOnParent: index,
      AutomaticAllocation: "true",
      Connection: "VM Network",
      ElementName: `Network card ${index}`,
      InstanceID: 100 + index,
      ResourceSubType: machine.paravirtual ? "VmxNet3" : "E1000",
      ResourceType: RESOURCE.ethernet,
    });
  }
  return list;
}

function itemXml(item: Item): string {
  const members = Object.entries(item).map(
    ([name, value]) => `        <rasd:${name}>${escapeXml(String(value))}</rasd:${name}>`,
  );
  return `      <Item>\n${members.join("\n")}\n      </Item>`;
}

function padded(bytes: number): string {
  return String(bytes).padStart(16, "0");
}
