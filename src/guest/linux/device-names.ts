import { rewriteFile } from "../changes.ts";
import type { Guestfish } from "../guestfish.ts";
import type { GuestContext, Step } from "../step.ts";
import {
  type Rewritten,
  rewriteCommandLines,
  rewriteEnvironmentBlock,
  rewriteTable,
  uuidsByDevice,
} from "./device-text.ts";
import { rewriteLvmConfiguration, rewriteMdadmConfiguration } from "./storage-settings.ts";

/** Files with one device in a field of each line: which field, counted from 0. */
const TABLES: readonly { path: string; field: number }[] = [
  { path: "/etc/fstab", field: 0 },
  { path: "/etc/crypttab", field: 1 },
];

/** GRUB's environment, in which RHEL 8 keeps the parameters that its entries have in common. */
const ENVIRONMENT_BLOCKS = ["/boot/grub/grubenv", "/boot/grub2/grubenv", "/boot/efi/EFI/*/grubenv"];

/** Files with kernel command lines, patterns as glob(7) has them. */
const COMMAND_LINES = [
  "/etc/default/grub",
  "/etc/default/grub.d/*.cfg",
  "/etc/kernel/cmdline",
  "/boot/grub/grub.cfg",
  "/boot/grub2/grub.cfg",
  "/boot/grub/menu.lst",
  "/boot/grub/grub.conf",
  "/boot/efi/EFI/*/grub.cfg",
  "/boot/loader/entries/*.conf",
  "/boot/efi/loader/entries/*.conf",
  "/efi/loader/entries/*.conf",
  "/boot/extlinux.conf",
  "/boot/extlinux/extlinux.conf",
  "/boot/syslinux/syslinux.cfg",
  "/etc/initramfs-tools/conf.d/resume",
];

/** The guest's files with kernel command lines: each once, however many links lead to it. */
export async function commandLineFiles(guestfish: Guestfish): Promise<string[]> {
  return await filesOnce(guestfish, COMMAND_LINES);
}

async function filesOnce(guestfish: Guestfish, patterns: readonly string[]): Promise<string[]> {
  const files = new Set<string>();
  for (const path of await guestfish.expand(patterns)) {
    const file = await guestfish.tryRun("realpath", path);
    if (file !== undefined) files.add(file);
  }
  return [...files];
}

/** Device names become UUIDs, which are the same on every hardware. */
export async function planDeviceNames({ guestfish, facts }: GuestContext): Promise<Step[]> {
  const uuids = uuidsByDevice(facts);
  const steps: Step[] = [];
  const plan = async (path: string, rewrite: (text: string) => Rewritten) => {
    const before = (await guestfish.read(path))?.toString("utf8");
    if (before === undefined) return;
    const { changes, unknown } = rewrite(before);
    if (changes.length === 0 && unknown.length === 0) return;
    const left = unknown.length > 0 ? `; ${unknown.join(", ")} stays, its UUID is not known` : "";
    steps.push({
      name: "device-names",
      what: `${path}: ${changes.join(", ") || "nothing to change"}${left}`,
      why: "disks have other names on other hardware",
      apply: () => rewriteFile(guestfish, path, (text) => rewrite(text).text),
    });
  };
  for (const { path, field } of TABLES) await plan(path, (text) => rewriteTable(text, field, uuids));
  for (const path of ["/etc/mdadm.conf", "/etc/mdadm/mdadm.conf"])
    await plan(path, rewriteMdadmConfiguration);
  await plan("/etc/lvm/lvm.conf", rewriteLvmConfiguration);
  for (const path of await commandLineFiles(guestfish))
    await plan(path, (text) => rewriteCommandLines(text, uuids));
  for (const path of await filesOnce(guestfish, ENVIRONMENT_BLOCKS))
    await plan(path, (text) => rewriteEnvironmentBlock(text, uuids));
  return steps;
}
