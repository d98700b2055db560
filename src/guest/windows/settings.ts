import { DISKS_SCRIPT } from "./firstboot-scripts.ts";
import { dword, type RegEdit } from "./reg-file.ts";
import { controlSet } from "./storage-drivers.ts";
import type { WindowsContext, WindowsStep } from "./windows-step.ts";

/** All disks online, the value of `diskpart san policy=OnlineAll`. */
const ONLINE_ALL = 1;

/** A stop stays to be read instead of a restart without end. */
export async function planCrashSettings({ windows }: WindowsContext): Promise<WindowsStep> {
  return {
    name: "crash-settings",
    what: "Windows does not restart by itself after a stop",
    why: "what a stop says can be read, and a boot test sees it",
    edits: [
      { hive: windows.systemHive, edits: inEachSet(windows, "Control\\CrashControl", "AutoReboot", 0) },
    ],
  };
}

/** Disks behind another controller are new ones to Windows, and servers leave new disks offline. */
export async function planDataDisks({ windows }: WindowsContext): Promise<WindowsStep> {
  return {
    name: "data-disks",
    what: "disks that Windows has not seen before come online",
    why: "servers leave them offline; drive letters are in MountedDevices, which stays as it is",
    edits: [
      {
        hive: windows.systemHive,
        edits: inEachSet(windows, "Services\\partmgr\\Parameters", "SanPolicy", ONLINE_ALL),
      },
    ],
    scripts: [{ name: "disks.ps1", content: DISKS_SCRIPT }],
  };
}

function inEachSet(
  { system }: WindowsContext["windows"],
  key: string,
  name: string,
  number: number,
): RegEdit[] {
  return system.controlSets.map((set) => ({
    key: `${controlSet(set)}\\${key}`,
    set: { [name]: dword(number) },
  }));
}
