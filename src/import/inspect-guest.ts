import { findSystems, type GuestSystem } from "../guest/guest-system.ts";
import { type GuestDisk, Guestfish } from "../guest/guestfish.ts";
import { partitionTypes } from "../guest/windows/partition-types.ts";
import { probeKvm } from "../hypervisor/capabilities.ts";
import type { BlockDevice, MachineFacts } from "../machine/facts.ts";
import { device } from "./disk-devices.ts";

/** What was found by looking into a machine's disks. */
export interface GuestFindings {
  arch: string | undefined;
  firmware: "bios" | "uefi" | undefined;
  os: Partial<MachineFacts["os"]>;
  /** With the UUIDs, labels and mountpoints of file systems, and with volumes that lie on partitions. */
  block: BlockDevice[];
}

const ESP_TYPES = new Set(["C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "0xef"]);
const BIOS_BOOT_TYPE = "21686148-6449-6E6F-744E-656564454649";

/** As the agent names them: native/agent/facts/os.c. */
const BOOT_LOADERS: readonly [path: string, name: string][] = [
  ["/boot/grub/grub.cfg", "grub2"],
  ["/boot/grub2/grub.cfg", "grub2"],
  ["/boot/loader/entries", "systemd-boot"],
  ["/boot/efi/loader/loader.conf", "systemd-boot"],
  ["/boot/extlinux/extlinux.conf", "extlinux"],
  ["/boot/extlinux.conf", "extlinux"],
  ["/boot/grub/menu.lst", "grub-legacy"],
];
const LICENCES: Record<string, string> = {
  rhel: "rhel",
  ol: "oracle",
  sles: "sles",
  sle_hpc: "sles",
  ubuntu: "ubuntu",
  windows: "windows",
};
const SYSTEMD = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"];

/** Looks into disks with libguestfs, read-only. `block` are their disks and partitions, named as an appliance names them. */
export async function inspectGuest(
  disks: readonly GuestDisk[],
  block: readonly BlockDevice[],
  signal?: AbortSignal,
): Promise<GuestFindings> {
  const useTcg = !(await probeKvm()).works;
  await using guestfish = await Guestfish.start(disks, { useTcg, ...(signal ? { signal } : {}) });
  const systems = await findSystems(guestfish);
  // Of several the first one is described: all of them are in the image.
  const system = systems[0];
  const devices = await describeDevices(guestfish, block);
  return {
    arch: system && system.arch !== "unknown" ? system.arch : undefined,
    firmware: await firmwareOf(guestfish),
    os: system ? await describeSystem(guestfish, system) : {},
    block: system ? withMounts(devices, system) : devices,
  };
}

/** A machine with an EFI system partition and none for BIOS boot code starts by UEFI. */
async function firmwareOf(guestfish: Guestfish): Promise<"bios" | "uefi" | undefined> {
  const types = (await partitionTypes(guestfish)).map(({ type }) => type);
  if (types.length === 0) return undefined;
  const hasEsp = types.some((type) => type !== undefined && ESP_TYPES.has(type));
  return hasEsp && !types.includes(BIOS_BOOT_TYPE) ? "uefi" : "bios";
}

async function describeDevices(guestfish: Guestfish, block: readonly BlockDevice[]): Promise<BlockDevice[]> {
  const found = [...block.map((each) => ({ ...each })), ...(await volumes(guestfish, block))];
  for (const each of found) {
    if (each.kind === "disk" && each.table) continue;
    const fsType = await guestfish.tryRun("vfs-type", each.path);
    if (!fsType || fsType === "unknown") continue;
    // The agent's word for what lies there stays where it has one.
    each.fsType ??= fsType === "crypto_LUKS" ? "luks" : fsType;
    each.fsUuid = (await guestfish.tryRun("vfs-uuid", each.path)) || null;
    each.fsLabel = (await guestfish.tryRun("vfs-label", each.path)) || null;
  }
  return found;
}

/** Logical volumes and arrays, on the partitions that could hold them. */
async function volumes(guestfish: Guestfish, block: readonly BlockDevice[]): Promise<BlockDevice[]> {
  const holders = (kind: string) => block.filter(({ fsType }) => fsType === kind).map(({ name }) => name);
  const list = async (command: string) =>
    (await guestfish.tryRun(command))?.split("\n").filter(Boolean) ?? [];
  const found: BlockDevice[] = [];
  for (const path of await list("list-md-devices"))
    found.push({ ...(await volume(guestfish, path, "md")), parents: holders("md") });
  for (const path of await list("lvs"))
    found.push({ ...(await volume(guestfish, path, "lvm")), parents: holders("lvm2") });
  return found;
}

async function volume(guestfish: Guestfish, path: string, kind: string): Promise<BlockDevice> {
  const sizeBytes = Number((await guestfish.tryRun("blockdev-getsize64", path)) ?? 0);
  return { ...device(path.replace(/^\/dev\//, ""), kind, sizeBytes, 512, []), path };
}

async function describeSystem(
  guestfish: Guestfish,
  system: GuestSystem,
): Promise<Partial<MachineFacts["os"]>> {
  const { root, type, distro, productName, hostname } = system;
  const named = { hostname: hostname === "unknown" ? null : hostname, prettyName: productName };
  if (type === "windows") {
    const major = await guestfish.tryRun("inspect-get-major-version", root);
    const minor = await guestfish.tryRun("inspect-get-minor-version", root);
    return { ...named, id: "windows", versionId: `${major}.${minor}`, licenceFamily: "windows" };
  }
  for (const { path, device: from } of system.mounts) await guestfish.tryRun("mount-ro", from, path);
  const release = parseRelease(
    ((await guestfish.read("/etc/os-release")) ?? (await guestfish.read("/usr/lib/os-release")))?.toString(
      "utf8",
    ) ?? "",
  );
  const id = release.ID ?? (distro === "unknown" ? null : distro);
  const kernels = await guestfish.expand(["/lib/modules/*/modules.dep"]);
  const loaders: string[] = [];
  for (const [path, name] of BOOT_LOADERS)
    if ((await guestfish.tryRun("exists", path)) === "true") loaders.push(name);
  return {
    ...named,
    id,
    versionId: release.VERSION_ID ?? null,
    prettyName: release.PRETTY_NAME ?? productName,
    kernels: kernels.flatMap((path) => path.split("/").at(-2) ?? []),
    bootLoader: loaders[0] ?? "unknown",
    init: (await guestfish.expand(SYSTEMD)).length > 0 ? "systemd" : "init",
    licenceFamily: LICENCES[id ?? ""] ?? "none",
  };
}

/** os-release(5), its values without quotes. */
function parseRelease(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, key = "", value = ""] of text.matchAll(/^([A-Z_]+)=(?:"|')?([^"'\n]*)/gm)) found[key] = value;
  return found;
}

function withMounts(block: readonly BlockDevice[], { mounts, root }: GuestSystem): BlockDevice[] {
  return block.map((each) => {
    const on = mounts.filter(({ device: from }) => from === each.path || from === `btrfsvol:${each.path}`);
    const isRoot = root.startsWith(`btrfsvol:${each.path}/`) && !on.some(({ path }) => path === "/");
    const paths = [...on.map(({ path }) => path), ...(isRoot ? ["/"] : [])];
    return {
      ...each,
      mounts: paths.map((path) => ({ path, type: each.fsType ?? "unknown", writable: true })),
    };
  });
}
