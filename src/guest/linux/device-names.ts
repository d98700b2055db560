import { rewriteFile } from "../changes.ts";
import type { GuestContext, Step } from "../step.ts";
import { type Rewritten, rewriteCommandLines, rewriteTable, uuidsByDevice } from "./device-text.ts";
import { rewriteLvmConfiguration, rewriteMdadmConfiguration } from "./storage-settings.ts";

/** Files with one device in a field of each line: which field, counted from 0. */
const TABLES: readonly { path: string; field: number }[] = [
  { path: "/etc/fstab", field: 0 },
  { path: "/etc/crypttab", field: 1 },
];

/** Files with kernel command lines, patterns as glob(7) has them. */
export const COMMAND_LINES = [
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
  for (const path of await guestfish.expand(COMMAND_LINES))
    await plan(path, (text) => rewriteCommandLines(text, uuids));
  return steps;
}
