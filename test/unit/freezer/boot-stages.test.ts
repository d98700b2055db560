import { describe, expect, it } from "vitest";
import { furthest, readConsole } from "../../../src/freezer/boot-stages.ts";

const UEFI = '\u001b[2J\u001b[01;01HBdsDxe: loading Boot0001 "UEFI Misc Device" from PciRoot(0x0)\r\n';
const GRUB = "\u001b[0m\u001b[37m\u001b[40m                             GNU GRUB  version 2.06\r\n";
const KERNEL = "[    0.000000] Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org)\r\n";
const USERSPACE =
  "[    5.1] systemd[1]: x\r\nWelcome to \u001b[1mDebian GNU/Linux 12 (bookworm)\u001b[0m!\r\n";

describe("a console log", () => {
  it("shows how far a machine came, and what it was", () => {
    expect(readConsole("").seen).toEqual([]);
    expect(readConsole(UEFI + GRUB + KERNEL + USERSPACE)).toEqual({
      seen: [
        { stage: "firmware", what: 'BdsDxe: loading Boot0001 "UEFI Misc Device" from PciRoot(0x0)' },
        { stage: "boot-loader", what: "GNU GRUB  version 2.06" },
        { stage: "kernel", what: "Linux version 6.1.0-50-amd64" },
        { stage: "userspace", what: "Welcome to Debian GNU/Linux 12 (bookworm)!" },
      ],
      deadEnd: undefined,
    });
    expect(readConsole("\r\nDebian GNU/Linux 12 demo ttyS0\r\n\r\ndemo login: ").seen).toEqual([
      { stage: "userspace", what: "demo login:" },
    ]);
    expect(readConsole(" * OpenRC 0.45.2 is starting up Linux 6.1 (x86_64)\n").seen[0]?.stage).toBe(
      "userspace",
    );
  });

  it.each([
    ["ALERT!  UUID=5f1d does not exist.  Dropping to a shell!", /does not find the disk/],
    [
      "Gave up waiting for root file system device.  Common problems:\r\n - Boot args\r\nALERT!  /dev/sda2 does not exist.",
      /does not find the disk/,
    ],
    [
      "dracut-initqueue[300]: Warning: dracut-initqueue: timeout, still waiting for following initqueue hooks:\ndracut-initqueue[300]: Warning: dracut-initqueue timeout - giving up",
      /dracut does not find/,
    ],
    [
      "[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
      /VFS: Unable to mount/,
    ],
    ["You are in emergency mode. After logging in, type", /emergency shell/],
    ["error: no such device: 5f1d.\r\nEntering rescue mode...\r\ngrub rescue> ", /boot loader does not find/],
    ["BdsDxe: No bootable option or device was found.", /firmware finds nothing/],
    ["No bootable device.", /firmware finds nothing/],
    [
      "UEFI Interactive Shell v2.2\r\nEDK II\r\nPress ESC in 1 seconds to skip startup.nsh\r\n\u001b[1m\u001b[33mShell> \u001b[0m\u001b[37m",
      /firmware finds nothing/,
    ],
    [
      "mount: mounting /dev/vda3 on /sysroot failed: No such file or directory\nMounting root: failed.\ninitramfs emergency recovery shell launched.",
      /cannot mount/,
    ],
  ])("that ends in %j has a reason", (log, why) => {
    expect(readConsole(KERNEL + log).deadEnd).toMatch(why);
    expect(readConsole(KERNEL + USERSPACE).deadEnd).toBeUndefined();
  });

  it("of a firmware's shell is no end while a script of the disk runs in it", () => {
    const script = "UEFI Interactive Shell v2.2\r\nShell> echo -off\r\nstarting grubx64.efi\r\n";
    expect(readConsole(script).deadEnd).toBeUndefined();
    expect(readConsole(`${script}${KERNEL}`).deadEnd).toBeUndefined();
  });

  it("is as far as its last stage, whatever was not seen before", () => {
    expect(furthest([])).toBeUndefined();
    expect(furthest(["network", "firmware"])).toBe("network");
  });
});
