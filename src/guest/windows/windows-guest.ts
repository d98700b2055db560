import type { GuestSystem } from "../guest-system.ts";
import type { Guestfish } from "../guestfish.ts";
import { Hive } from "./hive.ts";
import { partitionTypes } from "./partition-types.ts";
import { checkHive, checkWindowsVolume, refused } from "./refusals.ts";
import type { SystemHive } from "./storage-drivers.ts";
import { readSystemHive } from "./system-hive.ts";
import { knownVersion, type WindowsVersion } from "./versions.ts";

/** Where the appliance has the guest's volumes. */
const SYSTEM_DRIVE = "/C:";
const ESP = "/ESP";
const ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";

const ARCHITECTURES: Record<string, WindowsVersion["arch"]> = {
  x86_64: "amd64",
  i386: "x86",
  aarch64: "arm64",
};

/** A Windows guest, mounted, with what its conversion depends on. */
export interface WindowsGuest {
  guestfish: Guestfish;
  arch: WindowsVersion["arch"];
  /** Folders of the virtio-win drivers that fit, the best first. */
  driverFolders: readonly string[];
  /** `%SystemRoot%` as a path of the appliance. */
  systemRoot: string;
  /** The EFI system partition; undefined of a machine that starts by BIOS. */
  esp: string | undefined;
  systemHive: Hive;
  softwareHive: Hive;
  system: SystemHive;
}

/** Mounts a Windows guest and reads its registry. Throws `conversion-refused` (exit 3). */
export async function openWindows(
  guestfish: Guestfish,
  { root, productName, arch: guestArch }: GuestSystem,
  workFolder: string,
): Promise<WindowsGuest> {
  const ask = async (what: string) => (await guestfish.tryRun(`inspect-get-${what}`, root)) ?? "";
  const partitions = await partitionTypes(guestfish);
  await checkWindowsVolume(guestfish, root, partitions);
  const drive = (path: string) => `${SYSTEM_DRIVE}${path}`;
  const esp = partitions.find(({ type }) => type === ESP_TYPE)?.device;
  await mountAt(guestfish, root, SYSTEM_DRIVE);
  if (esp !== undefined) await mountAt(guestfish, esp, ESP);
  const systemHive = await Hive.open(
    guestfish,
    "SYSTEM",
    drive(await ask("windows-system-hive")),
    workFolder,
  );
  const softwareHive = await Hive.open(
    guestfish,
    "SOFTWARE",
    drive(await ask("windows-software-hive")),
    workFolder,
  );
  for (const hive of [systemHive, softwareHive]) checkHive(hive);
  const arch = ARCHITECTURES[guestArch];
  const known = arch && knownVersion(await readVersion(softwareHive, arch));
  if (!arch || !known) {
    throw refused(
      `${productName || "this Windows"} (${guestArch}) cannot be converted`,
      "Windows 7 and Server 2008 R2 are the oldest that can",
    );
  }
  return {
    guestfish,
    arch,
    driverFolders: known.folders,
    systemRoot: drive(await ask("windows-systemroot")),
    esp: esp === undefined ? undefined : ESP,
    systemHive,
    softwareHive,
    system: await readSystemHive(systemHive),
  };
}

async function mountAt(guestfish: Guestfish, device: string, path: string): Promise<void> {
  // It stays for as long as the appliance does; without it the mount fails.
  await guestfish.tryRun("mkmountpoint", path);
  await guestfish.run("mount", device, path);
}

async function readVersion(software: Hive, arch: WindowsVersion["arch"]): Promise<WindowsVersion> {
  const key = "Microsoft\\Windows NT\\CurrentVersion";
  const values = (await software.tree(key)).get(key.toLowerCase());
  const text = (name: string) => {
    const value = values?.get(name);
    return value?.type === "sz" ? value.text : value?.type === "dword" ? String(value.number) : undefined;
  };
  // Windows 10 and newer say 6.3 there, and have two numbers beside it.
  const [major = "", minor = ""] = (text("currentversion") ?? "").split(".");
  return {
    major: Number(text("currentmajorversionnumber") ?? major),
    minor: Number(text("currentminorversionnumber") ?? minor),
    build: Number.parseInt(text("currentbuildnumber") ?? text("currentbuild") ?? "0", 10),
    server: /^server/i.test(text("installationtype") ?? ""),
    arch,
  };
}
