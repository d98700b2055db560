import { dword, type RegEdit, sz } from "./reg-file.ts";

/** A storage driver of virtio-win. */
export interface StorageDriver {
  name: "viostor" | "vioscsi";
  /** Of the device in its legacy and its modern form. */
  pciIds: readonly string[];
}

/** virtio-blk before virtio-scsi. */
export const STORAGE_DRIVERS: readonly StorageDriver[] = [
  { name: "viostor", pciIds: ["VEN_1AF4&DEV_1001&REV_00", "VEN_1AF4&DEV_1042&REV_01"] },
  { name: "vioscsi", pciIds: ["VEN_1AF4&DEV_1004&REV_00", "VEN_1AF4&DEV_1048&REV_01"] },
];

/** What of the SYSTEM hive the edits depend on. */
export interface SystemHive {
  /** Numbers of the control sets that can boot: `ControlSet001` is 1. */
  controlSets: readonly number[];
  /** Windows 8 and newer find boot drivers there, older ones in the critical device database. */
  hasDriverDatabase: boolean;
  /** The control set that Windows ran with. */
  current: number;
  /** Programs of services by their names in lower case, as `ImagePath` has them. */
  services: ReadonlyMap<string, string>;
  /** Services that have a `StartOverride` key, in lower case. */
  overridden: ReadonlySet<string>;
}

const SCSI_CLASS = "{4D36E97B-E325-11CE-BFC1-08002BE10318}";
/** The class as a GUID lies in memory: the first three parts little-endian. */
const SCSI_CLASS_BYTES = Buffer.from("7be9364d25e3ce11bfc108002be10318", "hex");

/** Makes Windows load the drivers at boot, and take the devices for theirs, in every control set. */
export function storageDriverEdits(
  hive: SystemHive,
  drivers: readonly StorageDriver[],
  arch: "x86" | "amd64" | "arm64",
): RegEdit[] {
  const edits: RegEdit[] = [];
  for (const set of hive.controlSets) {
    for (const driver of drivers) {
      edits.push(...serviceEdits(hive, set, driver.name));
      if (!hive.hasDriverDatabase) edits.push(...criticalDevices(set, driver));
    }
  }
  if (hive.hasDriverDatabase) for (const driver of drivers) edits.push(...driverDatabase(driver, arch));
  return edits;
}

/** Drivers that Windows has by itself, as boot drivers: for hypervisors whose disks they are for. */
export function inboxDriverEdits(hive: SystemHive, services: readonly string[]): RegEdit[] {
  return hive.controlSets.flatMap((set) =>
    services.flatMap((name) => [
      { key: `${controlSet(set)}\\Services\\${name}`, set: { Start: dword(0) } },
      ...overrideEdits(hive, set, name),
    ]),
  );
}

/** What must go after the first boot, when Windows has installed the drivers by itself: left behind, it is in the way of pnputil and upgrades. */
export function temporaryEntries(
  hive: SystemHive,
  drivers: readonly StorageDriver[],
  arch: "x86" | "amd64" | "arm64",
): RegEdit[] {
  if (!hive.hasDriverDatabase) {
    return hive.controlSets.flatMap((set) =>
      drivers.flatMap(({ pciIds }) =>
        pciIds.map((id) => ({ key: criticalDevice(set, id), removeKey: true })),
      ),
    );
  }
  return drivers.flatMap(({ name, pciIds }) => [
    { key: `DriverDatabase\\DriverInfFiles\\${name}.inf`, removeKey: true },
    { key: `DriverDatabase\\DriverPackages\\${label(name, arch)}`, removeKey: true },
    ...pciIds.map((id) => ({ key: `DriverDatabase\\DeviceIds\\PCI\\${id}`, remove: [`${name}.inf`] })),
  ]);
}

function serviceEdits(hive: SystemHive, set: number, name: string): RegEdit[] {
  return [
    {
      key: `${controlSet(set)}\\Services\\${name}`,
      set: {
        Type: dword(1),
        Start: dword(0),
        Group: sz("SCSI miniport"),
        ErrorControl: dword(1),
        ImagePath: { type: "expand-sz", text: `system32\\drivers\\${name}.sys` },
      },
    },
    ...overrideEdits(hive, set, name),
  ];
}

/** `StartOverride` wins over `Start`: a driver that is installed but was not needed has a 3 there, and is not loaded at boot. */
function overrideEdits(hive: SystemHive, set: number, name: string): RegEdit[] {
  if (!hive.overridden.has(name.toLowerCase())) return [];
  return [{ key: `${controlSet(set)}\\Services\\${name}\\StartOverride`, removeKey: true }];
}

function criticalDevices(set: number, { name, pciIds }: StorageDriver): RegEdit[] {
  return pciIds.map((id) => ({
    key: criticalDevice(set, id),
    set: { Service: sz(name), ClassGUID: sz(SCSI_CLASS) },
  }));
}

function driverDatabase({ name, pciIds }: StorageDriver, arch: "x86" | "amd64" | "arm64"): RegEdit[] {
  const configuration = `${name}_conf`;
  const own = label(name, arch);
  const pack = `DriverDatabase\\DriverPackages\\${own}`;
  return [
    {
      key: `DriverDatabase\\DriverInfFiles\\${name}.inf`,
      set: {
        "@": { type: "multi-sz", texts: [own] },
        Active: sz(own),
        Configurations: { type: "multi-sz", texts: [configuration] },
      },
    },
    ...pciIds.map((id) => ({
      key: `DriverDatabase\\DeviceIds\\PCI\\${id}`,
      set: { [`${name}.inf`]: { type: "binary" as const, bytes: Buffer.from([0x01, 0xff, 0x00, 0x00]) } },
    })),
    { key: pack, set: { Version: { type: "binary", bytes: packageVersion() } } },
    { key: `${pack}\\Configurations\\${configuration}`, set: { ConfigFlags: dword(0), Service: sz(name) } },
    ...pciIds.map((id) => ({
      key: `${pack}\\Descriptors\\PCI\\${id}`,
      set: { Configuration: sz(configuration) },
    })),
  ];
}

/** 48 bytes: a flag word, the class of the driver, and no date and version. */
function packageVersion(): Buffer {
  return Buffer.concat([Buffer.from("00ff090000000000", "hex"), SCSI_CLASS_BYTES, Buffer.alloc(24)]);
}

function label(name: string, arch: string): string {
  return `${name}.inf_${arch}_0000000000000000`;
}

/** The key of a control set. */
export function controlSet(number: number): string {
  return `ControlSet${String(number).padStart(3, "0")}`;
}

function criticalDevice(set: number, id: string): string {
  return `${controlSet(set)}\\Control\\CriticalDeviceDatabase\\PCI#${id}`;
}
