import { type CpioMember, FILE_MODE } from "./cpio.ts";
import { type DeviceUuids, type Rewritten, rewriteCommandLines, rewriteTable } from "./device-text.ts";
import type { Initramfs } from "./initramfs.ts";
import { rewriteLvmConfiguration, rewriteMdadmConfiguration } from "./storage-settings.ts";

/** Files in an initramfs that name devices, as the generators put them there. */
const SETTINGS: readonly { pattern: RegExp; rewrite(text: string, uuids: DeviceUuids): Rewritten }[] = [
  {
    pattern: /^(?:cryptroot\/crypttab|etc\/crypttab)$/,
    rewrite: (text, uuids) => rewriteTable(text, 1, uuids),
  },
  { pattern: /^etc\/fstab(?:\.[a-z]+)?$/, rewrite: (text, uuids) => rewriteTable(text, 0, uuids) },
  {
    pattern: /^(?:conf\/(?:param\.conf|conf\.d\/[^/]+)|etc\/cmdline\.d\/[^/]+)$/,
    rewrite: rewriteCommandLines,
  },
  { pattern: /^etc\/(?:mdadm\/)?mdadm\.conf$/, rewrite: rewriteMdadmConfiguration },
  { pattern: /^etc\/lvm\/lvm\.conf$/, rewrite: rewriteLvmConfiguration },
];

/** The files of an initramfs that named devices by their place, as they must be. */
export function rewrittenMembers(initramfs: Initramfs, uuids: DeviceUuids): CpioMember[] {
  const members: CpioMember[] = [];
  for (const { pattern, rewrite } of SETTINGS) {
    for (const path of initramfs.paths(pattern)) {
      const before = initramfs.file(path)?.toString("utf8");
      if (before === undefined) continue;
      const { text, changes } = rewrite(before, uuids);
      if (changes.length > 0) members.push({ path, mode: FILE_MODE, content: Buffer.from(text) });
    }
  }
  return members;
}
