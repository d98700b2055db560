import { changeFile } from "../changes.ts";
import type { GuestContext, GuestPlan, Step } from "../step.ts";
import { planBootFiles } from "./boot-files.ts";
import { planDiskDrivers } from "./disk-drivers.ts";
import { openDriverSource } from "./driver-source.ts";
import { planFirstboot } from "./first-boot.ts";
import { planGuestAgent } from "./guest-agent.ts";
import type { Hive } from "./hive.ts";
import { planNetwork } from "./network.ts";
import { refused } from "./refusals.ts";
import type { RegEdit } from "./reg-file.ts";
import { planCrashSettings, planDataDisks } from "./settings.ts";
import { openWindows } from "./windows-guest.ts";
import type { WindowsContext, WindowsPlanner, WindowsStep } from "./windows-step.ts";

/** The order is the one of their scripts, too: drivers first, so that cards and disks are there. */
const PLANNERS: readonly WindowsPlanner[] = [
  planDiskDrivers,
  planDataDisks,
  planNetwork,
  planGuestAgent,
  planCrashSettings,
  planBootFiles,
];

/** Mounts a Windows guest and plans what is done to it. Throws `conversion-refused` (exit 3). */
export async function planWindows(context: GuestContext): Promise<GuestPlan> {
  refuseForLinux(context);
  const { guestfish, system, wishes, workFolder } = context;
  const windows = await openWindows(guestfish, system, workFolder);
  const drivers = wishes.virtioWin && (await openDriverSource(guestfish, wishes.virtioWin));
  const full: WindowsContext = { ...context, windows, drivers };
  const found: WindowsStep[] = [];
  for (const planner of PLANNERS) {
    const step = await planner(full);
    if (step) found.push(step);
  }
  const firstboot = await planFirstboot(
    full,
    found.flatMap(({ scripts }) => scripts ?? []),
  );
  if (firstboot) found.push(firstboot);
  return {
    steps: [...found.map((step) => carriedOut(step, full)), saveHives(found, full)],
    skippedMounts: [],
  };
}

/** What Windows has tools of its own for. */
function refuseForLinux({ wishes }: GuestContext): void {
  const { sysprep, hostname, console, rebuildInitramfs } = wishes;
  if (sysprep || hostname !== undefined)
    throw refused(
      "--sysprep and --hostname are for Linux",
      "run sysprep.exe in the machine before it is captured",
    );
  if (console) throw refused("--console is for Linux", "run 'bcdedit /ems on' in the machine");
  if (rebuildInitramfs) throw refused("--rebuild-initramfs is for Linux", "leave it out");
}

/** Puts the step's files into the guest; its edits go into the copies of the hives. */
function carriedOut(
  { name, what, why, files = [], edits = [] }: WindowsStep,
  { guestfish }: WindowsContext,
): Step {
  return {
    name,
    what,
    why,
    adds: files.map(({ path, bytes }) => ({ path, bytes })),
    settings: edits.flatMap(({ hive, edits }) => edits.map((edit) => describeEdit(hive, edit))),
    apply: async () => {
      const changed = [];
      for (const { path, content } of files) changed.push(await changeFile(guestfish, path, await content()));
      for (const { hive, edits: wanted } of edits) await hive.edit(wanted);
      return changed;
    },
  };
}

/** Hives are written back once, when every step has edited them. */
function saveHives(steps: readonly WindowsStep[], { guestfish }: WindowsContext): Step {
  const hives = [...new Set(steps.flatMap(({ edits = [] }) => edits.map(({ hive }) => hive)))];
  return {
    name: "registry",
    what: hives.map(({ path }) => path).join(", "),
    why: "the settings of the other steps are in them",
    adds: hives.map(({ path, bytes }) => ({ path, bytes: 2 * bytes })),
    apply: async () => {
      const changed = [];
      for (const hive of hives) changed.push(await hive.save(guestfish));
      return changed;
    },
  };
}

function describeEdit({ name }: Hive, { key, set = {}, remove = [], removeKey }: RegEdit): string {
  if (removeKey) return `${name}\\${key} removed`;
  const values = [...Object.keys(set), ...remove.map((value) => `${value} removed`)];
  return `${name}\\${key}: ${values.join(", ")}`;
}
