import { chooseDrivers } from "./driver-choice.ts";
import type { DriverSource } from "./driver-source.ts";
import { driverScript } from "./firstboot-scripts.ts";
import { refused } from "./refusals.ts";
import {
  inboxDriverEdits,
  STORAGE_DRIVERS,
  storageDriverEdits,
  temporaryEntries,
} from "./storage-drivers.ts";
import type { NewFile, WindowsContext, WindowsStep } from "./windows-step.ts";

/** Drivers that Windows brings along for the disks of other hypervisors, and for IDE and AHCI. */
const INBOX: Record<string, readonly string[]> = {
  kvm: ["viostor", "vioscsi"],
  vmware: ["LSI_SAS", "LSI_SAS2i", "pvscsi", "storahci", "msahci", "intelide", "atapi", "pciide"],
  hyperv: ["vmbus", "storvsc", "storflt", "intelide", "atapi", "pciide"],
};
const DEVICE_PATH_KEY = "Microsoft\\Windows\\CurrentVersion";
const DRIVER_FOLDER = "%SystemRoot%\\Drivers\\VirtIO";

/** The drivers without which Windows stops at 0x7B. */
export async function planDiskDrivers(context: WindowsContext): Promise<WindowsStep> {
  const { target, drivers } = context;
  return target.name === "kvm" && drivers
    ? await virtioDrivers(context, drivers)
    : await installedDrivers(context);
}

async function virtioDrivers({ windows }: WindowsContext, source: DriverSource): Promise<WindowsStep> {
  const { arch, driverFolders, systemRoot, system, systemHive, softwareHive } = windows;
  const chosen = chooseDrivers(source.files, driverFolders, arch);
  const drivers = STORAGE_DRIVERS.filter(
    ({ name }) => chosen.has(`${name}.sys`) && chosen.has(`${name}.inf`),
  );
  if (drivers.length === 0) {
    throw refused(
      `virtio-win has no disk driver for this Windows (${driverFolders.join(", ")}; ${arch})`,
      "give a virtio-win ISO that supports it: --virtio-win ISO",
    );
  }
  const files: NewFile[] = [];
  const put = async (from: string, path: string) =>
    files.push({ path, bytes: await source.size(from), content: () => source.read(from) });
  for (const [name, from] of chosen) await put(from, `${systemRoot}/Drivers/VirtIO/${name}`);
  const folder = await systemDrivers(windows);
  for (const { name } of drivers) await put(chosen.get(`${name}.sys`) ?? "", `${folder}/${name}.sys`);
  const infs = [...chosen.keys()].filter((name) => name.endsWith(".inf"));
  const names = drivers.map(({ name }) => name);
  return {
    name: "disk-drivers",
    what: `${names.join(" and ")} start with Windows; ${infs.join(", ")} are installed on the first boot`,
    why: "without the driver of its disk Windows stops at 0x7B",
    files,
    edits: [
      { hive: systemHive, edits: storageDriverEdits(system, drivers, arch) },
      { hive: softwareHive, edits: [await devicePath(windows)] },
    ],
    scripts: [
      {
        name: "drivers.cmd",
        content: driverScript({
          folder: DRIVER_FOLDER,
          others: infs.filter((inf) => !names.some((name) => inf === `${name}.inf`)),
          storage: names.map((name) => `${name}.inf`),
          temporary: temporaryEntries(system, drivers, arch),
        }),
      },
    ],
  };
}

/** Drivers that are in the guest already are told to start with it. */
async function installedDrivers({ windows, target }: WindowsContext): Promise<WindowsStep> {
  const { system, systemHive } = windows;
  const names: string[] = [];
  for (const name of INBOX[target.name] ?? []) if (await isThere(windows, name)) names.push(name);
  if (names.length === 0) {
    throw refused(
      `the guest has no driver for the disks of ${target.name}`,
      target.name === "kvm"
        ? "give the drivers: --virtio-win ISO"
        : "install the drivers in the machine, and capture it again",
    );
  }
  return {
    name: "disk-drivers",
    what: `${names.join(", ")} start with Windows`,
    why: "a driver that the old hardware did not need is not loaded at boot, and Windows stops at 0x7B",
    edits: [{ hive: systemHive, edits: inboxDriverEdits(system, names) }],
  };
}

/** Whether the service is known and its program, below `%SystemRoot%`, is there. */
async function isThere({ guestfish, systemRoot, system }: WindowsContext["windows"], name: string) {
  const image = system.services.get(name.toLowerCase());
  const relative = image?.replace(/^(?:\\SystemRoot\\|%SystemRoot%\\)/i, "").replaceAll("\\", "/");
  return relative !== undefined && (await guestfish.resolveCase(`${systemRoot}/${relative}`)) !== undefined;
}

/** As the guest writes it: `System32` and `system32` would be two folders to the appliance. */
async function systemDrivers({ guestfish, systemRoot }: WindowsContext["windows"]): Promise<string> {
  const path = await guestfish.resolveCase(`${systemRoot}/System32/drivers`);
  if (path === undefined)
    throw refused("the guest has no folder System32\\drivers", "capture the machine again");
  return path;
}

/** Where Windows looks for drivers of devices that it finds. */
async function devicePath({ softwareHive }: WindowsContext["windows"]) {
  const value = await softwareHive.value(DEVICE_PATH_KEY, "DevicePath");
  const before = value?.type === "expand-sz" || value?.type === "sz" ? value.text : "%SystemRoot%\\inf";
  const has = before.toLowerCase().split(";").includes(DRIVER_FOLDER.toLowerCase());
  const text = has ? before : `${before};${DRIVER_FOLDER}`;
  return { key: DEVICE_PATH_KEY, set: { DevicePath: { type: "expand-sz" as const, text } } };
}
