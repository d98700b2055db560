import type { MachineFacts } from "../../machine/facts.ts";
import { changeFile } from "../changes.ts";
import type { GuestContext, Step } from "../step.ts";

/** Names that follow a disk's place: another controller gives it another one. */
const PLACE_NAME = /^\/dev\/(?:sd|hd|vd|xvd)[a-z]+\d*$|^\/dev\/(?:nvme\d+n\d+|mmcblk\d+)(?:p\d+)?$/;
const UUID = /^[0-9A-Za-z-]{4,40}$/;

/** Files with one device in a field of each line: which field, counted from 0. */
const TABLES: readonly { path: string; field: number }[] = [
  { path: "/etc/fstab", field: 0 },
  { path: "/etc/crypttab", field: 1 },
];

/** Files with kernel command lines, patterns as glob(7) has them. */
const COMMAND_LINES = [
  "/etc/default/grub",
  "/etc/kernel/cmdline",
  "/boot/grub/grub.cfg",
  "/boot/grub2/grub.cfg",
  "/boot/grub/menu.lst",
  "/boot/grub/grub.conf",
  "/boot/efi/EFI/*/grub.cfg",
  "/boot/loader/entries/*.conf",
  "/boot/efi/loader/entries/*.conf",
  "/boot/extlinux.conf",
  "/boot/extlinux/extlinux.conf",
  "/boot/syslinux/syslinux.cfg",
  "/etc/initramfs-tools/conf.d/resume",
];

/** What each device held when the machine was captured: `/dev/sda2` to `UUID=…`. */
export function uuidsByDevice(facts: MachineFacts): Map<string, string> {
  const found = new Map<string, string>();
  for (const { path, fsUuid } of facts.block)
    if (fsUuid && UUID.test(fsUuid) && PLACE_NAME.test(path)) found.set(path, `UUID=${fsUuid}`);
  return found;
}

export interface Rewritten {
  text: string;
  /** `/dev/sda2 → UUID=…`, each once. */
  changes: string[];
  /** Names that follow a place and whose UUID is not known. */
  unknown: string[];
}

/** Replaces the device in a field of each line; comments and blanks stay as they are. */
export function rewriteTable(text: string, field: number, uuids: ReadonlyMap<string, string>): Rewritten {
  const notes = new Notes(uuids);
  const lines = text.split("\n").map((line) => {
    if (/^\s*(#|$)/.test(line)) return line;
    // Words at odd places, the blanks between them at even ones.
    const parts = line.split(/(\S+)/);
    const at = 1 + field * 2;
    const replaced = notes.replace(parts[at] ?? "");
    if (replaced !== undefined) parts[at] = replaced;
    return parts.join("");
  });
  return notes.result(lines.join("\n"));
}

/** Replaces the devices of `root=` and `resume=` wherever they stand. */
export function rewriteCommandLines(text: string, uuids: ReadonlyMap<string, string>): Rewritten {
  const notes = new Notes(uuids);
  const rewritten = text.replace(
    /\b(root|resume|RESUME)=(\/dev\/[A-Za-z0-9]+)/g,
    (whole, key: string, device: string) => {
      const replaced = notes.replace(device);
      return replaced === undefined ? whole : `${key}=${replaced}`;
    },
  );
  return notes.result(rewritten);
}

/** Device names become UUIDs, which are the same on every hardware. */
export async function planDeviceNames({ guestfish, facts }: GuestContext): Promise<Step[]> {
  const uuids = uuidsByDevice(facts);
  const steps: Step[] = [];
  const plan = async (path: string, rewrite: (text: string) => Rewritten) => {
    const before = (await guestfish.read(path))?.toString("utf8");
    if (before === undefined) return;
    const { text, changes, unknown } = rewrite(before);
    if (changes.length === 0 && unknown.length === 0) return;
    const left = unknown.length > 0 ? `; ${unknown.join(", ")} stays, its UUID is not known` : "";
    steps.push({
      name: "device-names",
      what: `${path}: ${changes.join(", ") || "nothing to change"}${left}`,
      why: "disks have other names on other hardware",
      apply: async () => (changes.length === 0 ? [] : [await changeFile(guestfish, path, text)]),
    });
  };
  for (const { path, field } of TABLES) await plan(path, (text) => rewriteTable(text, field, uuids));
  for (const pattern of COMMAND_LINES) {
    const paths = pattern.includes("*") ? await guestfish.lines("glob-expand", pattern) : [pattern];
    for (const path of paths) await plan(path, (text) => rewriteCommandLines(text, uuids));
  }
  return steps;
}

class Notes {
  readonly #uuids: ReadonlyMap<string, string>;
  readonly #changes = new Set<string>();
  readonly #unknown = new Set<string>();

  constructor(uuids: ReadonlyMap<string, string>) {
    this.#uuids = uuids;
  }

  /** What a device's name becomes; undefined when it stays. */
  replace(device: string): string | undefined {
    if (!PLACE_NAME.test(device)) return undefined;
    const uuid = this.#uuids.get(device);
    if (uuid === undefined) this.#unknown.add(device);
    else this.#changes.add(`${device} → ${uuid}`);
    return uuid;
  }

  result(text: string): Rewritten {
    return { text, changes: [...this.#changes], unknown: [...this.#unknown] };
  }
}
