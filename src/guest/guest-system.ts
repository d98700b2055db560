import { DoppelError, EXIT } from "../errors.ts";
import type { MachineFacts } from "../machine/facts.ts";
import type { Guestfish } from "./guestfish.ts";

const UUID = /^[0-9A-Fa-f-]{4,36}$/;

/** An operating system that was found on a machine's disks. */
export interface GuestSystem {
  /** The device of its root file system, as the appliance names it. */
  root: string;
  /** `linux`, `windows` and so on. */
  type: string;
  distro: string;
  productName: string;
  arch: string;
  hostname: string;
  /** Mountpoints and their devices, parents first. */
  mounts: { path: string; device: string }[];
}

/**
 * Finds the operating systems on the disks: by libguestfs's inspection, and where that knows none, by what was seen of the
 * running machine. Of a btrfs with snapshots, what the machine ran from stands for all of them.
 */
export async function findSystems(guestfish: Guestfish, facts?: MachineFacts): Promise<GuestSystem[]> {
  const systems: GuestSystem[] = [];
  const seen = facts && (await systemOfFacts(guestfish, facts));
  for (const root of await guestfish.lines("inspect-os")) {
    const system = await describe(guestfish, root);
    systems.push(seen && isSameRoot(root, seen.root) ? withFacts(system, seen) : system);
  }
  if (systems.length > 0) return withoutSnapshots(systems);
  return seen ? [seen] : [];
}

/** A btrfs root is named `btrfsvol:DEVICE/SUBVOLUME`. */
function isSameRoot(root: string, device: string): boolean {
  return root === device || root.startsWith(`btrfsvol:${device}/`);
}

/** Where what starts a machine may lie, on a file system of its own. */
const BOOT_MOUNTS = ["/boot", "/boot/efi", "/efi"];

/**
 * What ran while the machine was captured is known better from it: its product's name, and the devices of its mountpoints.
 * fstab may use names for them that the appliance does not give (by its crypttab, by a disk's maker), or leave them to systemd.
 */
function withFacts(system: GuestSystem, seen: GuestSystem): GuestSystem {
  const mounts = system.mounts.map((mount) => {
    if (!/^\/dev\/(?:mapper|disk)\//.test(mount.device)) return mount;
    return seen.mounts.find(({ path }) => path === mount.path) ?? mount;
  });
  const missing = seen.mounts.filter(
    ({ path }) => BOOT_MOUNTS.includes(path) && !mounts.some((mount) => mount.path === path),
  );
  return { ...system, productName: seen.productName, mounts: parentsFirst([...mounts, ...missing]) };
}

function parentsFirst(mounts: GuestSystem["mounts"]): GuestSystem["mounts"] {
  return mounts.sort((a, b) => a.path.length - b.path.length);
}

/** Where snapper, timeshift and their like keep copies of a root. */
const SNAPSHOT = /^btrfsvol:.*\/(?:\.snapshots\/|timeshift-btrfs\/|@?snapshots?\/)/;

function withoutSnapshots(systems: readonly GuestSystem[]): GuestSystem[] {
  const live = systems.filter(({ root }) => !SNAPSHOT.test(root));
  return live.length > 0 ? live : [...systems];
}

/** A distribution that libguestfs does not know is Linux all the same: what was mounted where is in the facts. */
async function systemOfFacts(guestfish: Guestfish, facts: MachineFacts): Promise<GuestSystem | undefined> {
  const mounts: GuestSystem["mounts"] = [];
  for (const { fsUuid, mounts: points } of facts.block) {
    if (!fsUuid || !UUID.test(fsUuid)) continue;
    const device = await guestfish.tryRun("findfs-uuid", fsUuid);
    if (device !== undefined) for (const { path } of points) mounts.push({ path, device });
  }
  const root = mounts.find(({ path }) => path === "/");
  if (!root) return undefined;
  return {
    root: root.device,
    type: "linux",
    distro: facts.os.id ?? "unknown",
    productName: facts.os.prettyName ?? "unknown Linux",
    arch: facts.hardware.arch ?? "unknown",
    hostname: facts.os.hostname ?? "unknown",
    mounts: parentsFirst(mounts),
  };
}

/** The one system to work on; `root` chooses when there are several. Throws `guest-unknown` or `guest-ambiguous` (exit 3). */
export function chooseSystem(systems: readonly GuestSystem[], root?: string): GuestSystem {
  const found = root === undefined ? systems : systems.filter((system) => system.root === root);
  const [system, ...others] = found;
  const list = systems.map((each) => `${each.root} (${each.productName})`).join(", ");
  if (!system) {
    const what =
      systems.length === 0 ? "no operating system was found on the disks" : `there is no root ${root}`;
    throw new DoppelError("guest-unknown", what, {
      hint: systems.length === 0 ? "an encrypted disk needs its key: --luks-key FILE" : `there is ${list}`,
      exitCode: EXIT.refused,
    });
  }
  if (others.length > 0) {
    throw new DoppelError("guest-ambiguous", `the disks hold several operating systems: ${list}`, {
      hint: `choose one with --root ${system.root}`,
      exitCode: EXIT.refused,
    });
  }
  return system;
}

/** Mounts everything that the system's fstab mounts; what cannot be mounted but the root is returned with the reason. */
export async function mountSystem(guestfish: Guestfish, system: GuestSystem): Promise<string[]> {
  const skipped: string[] = [];
  for (const { path, device } of system.mounts) {
    if (path === "/") await guestfish.run("mount", device, path);
    else if ((await guestfish.tryRun("mount", device, path)) === undefined) skipped.push(path);
  }
  return skipped;
}

async function describe(guestfish: Guestfish, root: string): Promise<GuestSystem> {
  const ask = async (what: string) => (await guestfish.tryRun(`inspect-get-${what}`, root)) ?? "unknown";
  const mounts = (await guestfish.lines("inspect-get-mountpoints", root)).map((line) => {
    // "PATH: DEVICE"; a path may hold a colon, a device name does not.
    const colon = line.lastIndexOf(": ");
    const path = line.slice(0, colon);
    return { path, device: path === "/" ? root : line.slice(colon + 2) };
  });
  return {
    root,
    type: await ask("type"),
    distro: await ask("distro"),
    productName: await ask("product-name"),
    arch: await ask("arch"),
    hostname: await ask("hostname"),
    mounts: parentsFirst(mounts),
  };
}
