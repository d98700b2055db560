/** What a machine goes through when it starts, in order. */
export const BOOT_STAGES = ["firmware", "boot-loader", "kernel", "userspace", "network"] as const;
export type BootStage = (typeof BOOT_STAGES)[number];

interface Sign {
  stage: BootStage;
  /** Its first group, where it has one, says more: a version, a name. */
  pattern: RegExp;
}

/** What each stage writes to a serial console. */
const SIGNS: readonly Sign[] = [
  { stage: "firmware", pattern: /(SeaBIOS[^\n]{0,40}|BdsDxe: loading[^\n]{0,60}|UEFI firmware[^\n]{0,40})/ },
  {
    stage: "boot-loader",
    pattern:
      /(GNU GRUB[^\n]{0,30}|Welcome to GRUB|Booting `[^\n]{0,60}|ISOLINUX|SYSLINUX|EXTLINUX|systemd-boot)/,
  },
  { stage: "kernel", pattern: /(Linux version \S{1,60})/ },
  { stage: "kernel", pattern: /^\[ {4}\d\.\d{6}\] /m },
  {
    stage: "userspace",
    pattern: /(Welcome to [^\n]{1,60}!|OpenRC \S+ is starting up[^\n]{0,60}|INIT: version \S+)/,
  },
  { stage: "userspace", pattern: /(Reached target [^\n]{0,20}(?:Multi-User|Graphical)[^\n]{0,20})/ },
  { stage: "userspace", pattern: /^(\S{1,64} login: )/m },
];

/** What a start that goes no further writes, and what that means. */
const DEAD_ENDS: readonly { pattern: RegExp; why: string }[] = [
  {
    pattern: /Gave up waiting for (?:root|suspend\/resume) (?:file system )?device[\s\S]*does not exist/,
    why: "the initramfs does not find the disk of the root file system",
  },
  {
    pattern: /ALERT! {1,4}\S+ does not exist/,
    why: "the initramfs does not find the disk of the root file system",
  },
  {
    pattern: /dracut-initqueue[^\n]*timeout[^\n]*giving up|Warning: Could not boot\./i,
    why: "dracut does not find the disk of the root file system",
  },
  {
    pattern: /ERROR: device '[^\n']*' not found\. Skipping fsck[\s\S]*You are now being dropped/,
    why: "the initramfs does not find the disk of the root file system",
  },
  {
    pattern: /Mounting root: failed|initramfs emergency recovery shell/i,
    why: "the initramfs cannot mount the root file system",
  },
  { pattern: /Kernel panic - not syncing: ([^\n]{1,100})/, why: "the kernel panics" },
  {
    pattern: /(?:You are in emergency mode|Entering emergency mode|dracut:\/#)/,
    why: "it ends in an emergency shell",
  },
  {
    pattern: /grub rescue>|error: no such (?:device|partition|disk)/,
    why: "the boot loader does not find its files",
  },
  { pattern: /No bootable device|BdsDxe: No bootable option/i, why: "the firmware finds nothing to start" },
  {
    // Where no disk has a loader, OVMF starts its own shell, which waits for a key. A script of the disk (startup.nsh) would go on.
    pattern: /UEFI Interactive Shell v[\s\S]*Shell> *$/,
    why: "the firmware finds nothing to start",
  },
];

export interface SeenStage {
  stage: BootStage;
  what: string;
}

/** What a console log tells. A stage that it does not show was passed all the same when a later one is there. */
export function readConsole(log: string): { seen: SeenStage[]; deadEnd: string | undefined } {
  const text = stripEscapes(log);
  const seen: SeenStage[] = [];
  for (const stage of BOOT_STAGES) {
    for (const { pattern } of SIGNS.filter((sign) => sign.stage === stage)) {
      const match = pattern.exec(text);
      if (!match) continue;
      seen.push({ stage, what: match[1]?.trim() ?? "" });
      break;
    }
  }
  for (const { pattern, why } of DEAD_ENDS) {
    const match = pattern.exec(text);
    if (match) return { seen, deadEnd: match[1] ? `${why}: ${match[1].trim()}` : why };
  }
  return { seen, deadEnd: undefined };
}

/** The furthest stage of those seen. */
export function furthest(stages: Iterable<BootStage>): BootStage | undefined {
  const found = new Set(stages);
  return BOOT_STAGES.findLast((stage) => found.has(stage));
}

/** Terminal control sequences (ECMA-48, 5.4) and carriage returns away. */
function stripEscapes(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences start with one
  return text.replace(/\u001b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])/g, "").replaceAll("\r", "");
}
