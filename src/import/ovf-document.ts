import { DoppelError } from "../errors.ts";
import { childText, descendants, parseXml, type XmlElement } from "./xml-tree.ts";

/** A disk that an OVF descriptor names. */
export interface OvfDiskEntry {
  /** The file's name; undefined of a disk that is empty. */
  fileName: string | undefined;
  compressed: boolean;
  capacityBytes: number;
}

/** What an OVF descriptor says of its machine. */
export interface OvfMachineEntry {
  name: string;
  cpus: number | undefined;
  memoryBytes: number | undefined;
  firmware: "bios" | "uefi" | undefined;
  /** In the order of the descriptor. */
  cards: { mac: string | undefined; model: string | undefined }[];
  /** In the order in which the machine has them. */
  disks: OvfDiskEntry[];
}

/** CIM_ResourceAllocationSettingData's ResourceType. */
const RESOURCE = { processor: "3", memory: "4", ethernet: "10", disk: "17" } as const;
const MAC = /^[0-9a-f]{2}(?:[:-]?[0-9a-f]{2}){5}$/i;

/** Reads an OVF descriptor (DMTF DSP0243, versions 1 and 2). Throws `appliance-invalid`, naming `of`. */
export function parseOvf(text: string, of: string): OvfMachineEntry {
  const envelope = parseXml(text, of);
  if (envelope.name !== "Envelope")
    throw invalid(of, `its outermost element is ${envelope.name}, not Envelope`);
  const systems = descendants(envelope, "VirtualSystem");
  const [system] = systems;
  if (!system || systems.length > 1) throw invalid(of, `it describes ${systems.length} machines, not one`);
  const items = ["Item", "StorageItem", "EthernetPortItem"].flatMap((name) => descendants(system, name));
  const ofType = (type: string) => items.filter((item) => childText(item, "ResourceType") === type);
  return {
    name: childText(system, "Name") || system.attributes.id || "machine",
    cpus: quantity(ofType(RESOURCE.processor)[0]),
    memoryBytes: memoryBytes(ofType(RESOURCE.memory)[0]),
    firmware: firmwareOf(system),
    cards: ofType(RESOURCE.ethernet).map((item) => ({
      mac: macOf(childText(item, "Address")),
      model: childText(item, "ResourceSubType"),
    })),
    disks: disksOf(envelope, ofType(RESOURCE.disk), of),
  };
}

/** VMware says it as a setting, VirtualBox in a section of its own. */
function firmwareOf(system: XmlElement): "bios" | "uefi" | undefined {
  const settings = [...descendants(system, "Config"), ...descendants(system, "ExtraConfig")];
  const said =
    settings.find(({ attributes }) => attributes.key === "firmware")?.attributes.value ??
    descendants(system, "Firmware")[0]?.attributes.type;
  if (said === undefined) return undefined;
  return /^efi/i.test(said) ? "uefi" : "bios";
}

/** The disks as the machine's controllers have them; where it lists none, as the section of disks does. */
function disksOf(envelope: XmlElement, items: readonly XmlElement[], of: string): OvfDiskEntry[] {
  const files = new Map(descendants(envelope, "File").map((file) => [file.attributes.id, file]));
  const disks = descendants(envelope, "Disk").map((disk) => ({ id: disk.attributes.diskId, disk }));
  const entryOf = (disk: XmlElement): OvfDiskEntry => {
    const { fileRef, capacity = "", capacityAllocationUnits } = disk.attributes;
    const file = fileRef === undefined ? undefined : files.get(fileRef);
    if (fileRef !== undefined && !file)
      throw invalid(of, `a disk refers to a file '${fileRef}' that it does not list`);
    return {
      fileName: file?.attributes.href,
      compressed: /^(?:gzip|compress)/i.test(file?.attributes.compression ?? ""),
      capacityBytes: Number(capacity) * unitBytes(capacityAllocationUnits),
    };
  };
  if (items.length === 0) return disks.map(({ disk }) => entryOf(disk));
  return [...items].sort(byPlace).map((item) => {
    const id = childText(item, "HostResource")?.split("/").at(-1);
    const found = disks.find((each) => each.id === id);
    if (!found) throw invalid(of, `the machine has a disk '${id}' that is not in the section of disks`);
    return entryOf(found.disk);
  });
}

/** By controller, then by the place on it. */
function byPlace(a: XmlElement, b: XmlElement): number {
  const number = (item: XmlElement, name: string) => Number(childText(item, name) ?? 0) || 0;
  return (
    number(a, "Parent") - number(b, "Parent") || number(a, "AddressOnParent") - number(b, "AddressOnParent")
  );
}

function quantity(item: XmlElement | undefined): number | undefined {
  const value = Number(item && childText(item, "VirtualQuantity"));
  return Number.isSafeInteger(value) && value > 0 ? value : undefined;
}

function memoryBytes(item: XmlElement | undefined): number | undefined {
  const value = quantity(item);
  const bytes = value && value * unitBytes(item && childText(item, "AllocationUnits"), 2 ** 20);
  return bytes !== undefined && Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** `byte * 2^20` (DSP0004, appendix C), or the words of OVF 1.0. */
function unitBytes(units: string | undefined, usual = 1): number {
  if (units === undefined || units === "") return usual;
  const [, base, exponent] = /byte\s*\*\s*(\d+)\s*\^\s*(\d+)/i.exec(units) ?? [];
  if (base !== undefined) return Number(base) ** Number(exponent);
  if (/^kilo/i.test(units)) return 2 ** 10;
  if (/^mega/i.test(units) || /^MB$/i.test(units)) return 2 ** 20;
  if (/^giga/i.test(units) || /^GB$/i.test(units)) return 2 ** 30;
  return usual;
}

function macOf(text: string | undefined): string | undefined {
  if (text === undefined || !MAC.test(text)) return undefined;
  return text
    .toLowerCase()
    .replace(/[:-]/g, "")
    .replace(/(..)(?!$)/g, "$1:");
}

function invalid(of: string, why: string): DoppelError {
  return new DoppelError("appliance-invalid", `${of} is no OVF descriptor of one machine: ${why}`);
}
