import type { MachineFacts } from "../../machine/facts.ts";

/** Names that follow a disk's place, its maker or its serial number: on other hardware it has another one. */
const HARDWARE_NAMES = [
  /^\/dev\/(?:sd|hd|vd|xvd)[a-z]+\d*$/,
  /^\/dev\/(?:nvme\d+n\d+|mmcblk\d+|(?:cciss|ida|rd)\/c\d+d\d+)(?:p\d+)?$/,
  /^\/dev\/disk\/by-path\/./,
  // What else is there has its name from what lies on the disk.
  /^\/dev\/disk\/by-id\/(?!dm-|md-|lvm-)./,
];
const UUID = /^[0-9A-Za-z-]{4,40}$/;

function followsHardware(name: string): boolean {
  return HARDWARE_NAMES.some((pattern) => pattern.test(name));
}

/** What a device holds by one of its names, as `UUID=…`; undefined of one that is not known, or keeps its name. */
export interface DeviceUuids {
  get(name: string): string | undefined;
}

/** What each device held when the machine was captured, by each of its names: `/dev/sda2` to `UUID=…`. */
export function uuidsByDevice(facts: MachineFacts): DeviceUuids {
  const found = new Map<string, string>();
  for (const { path, kind, dmName, links, fsUuid } of facts.block) {
    if (!fsUuid || !UUID.test(fsUuid)) continue;
    // Of several paths to a disk, and of the firmware's RAID, there is one plain disk afterwards.
    const mapped = dmName && (kind === "multipath" || kind === "dm") ? [`/dev/mapper/${dmName}`] : [];
    for (const name of [path, ...links].filter(followsHardware).concat(mapped))
      found.set(name, `UUID=${fsUuid}`);
  }
  const partitions = onlyPartitions(facts);
  return {
    get: (name) => found.get(name) ?? found.get(partitions.get(partitionNumber(name) ?? 0) ?? ""),
  };
}

/**
 * Of a machine that nobody saw running it is not known which names its disks had. With one disk only, a name by maker or place is that
 * disk's, and says which partition. Numbers of partitions to devices; none where names are known, or are of several disks.
 */
function onlyPartitions({ block }: MachineFacts): Map<number, string> {
  const partitions = new Map<number, string>();
  if (block.some(({ links }) => links.length > 0)) return partitions;
  if (block.filter(({ kind }) => kind === "disk").length !== 1) return partitions;
  for (const { path, partition } of block) if (partition !== undefined) partitions.set(partition, path);
  return partitions;
}

function partitionNumber(name: string): number | undefined {
  const number = /^\/dev\/disk\/by-(?:id|path)\/(?!usb-|mmc-|[^/]*-usb)[^/]*-part(\d+)$/.exec(name)?.[1];
  return number === undefined ? undefined : Number(number);
}

export interface Rewritten {
  text: string;
  /** `/dev/sda2 → UUID=…`, each once. */
  changes: string[];
  /** Names that follow the hardware and whose UUID is not known. */
  unknown: string[];
}

/** Replaces the device in a field of each line; comments and blanks stay as they are. */
export function rewriteTable(text: string, field: number, uuids: DeviceUuids): Rewritten {
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

/**
 * Parameters whose value is a device that a UUID may stand for: the kernel's and initramfs-tools' own, genkernel's, and mkinitcpio's,
 * where a colon and a name follow.
 */
const DEVICE_PARAMETERS =
  /\b(root|resume|RESUME|real_root|real_resume|crypt_root|crypt_swap)=(\/dev\/[^\s"',;]+)|\b(cryptdevice)=(\/dev\/[^\s"',;:]+)/g;

/** Replaces the devices of `root=`, `resume=` and their like wherever they stand. */
export function rewriteCommandLines(text: string, uuids: DeviceUuids): Rewritten {
  const notes = new Notes(uuids);
  const rewritten = text.replace(DEVICE_PARAMETERS, (whole, ...groups: string[]) => {
    const [key, device] = groups.slice(0, 4).filter(Boolean);
    const replaced = notes.replace(device ?? "");
    return replaced === undefined ? whole : `${key}=${replaced}`;
  });
  return notes.result(rewritten);
}

/** GRUB writes the file in place, and fills it up to this size (GRUB manual, "The GRUB environment block"). */
const ENVIRONMENT_BLOCK_BYTES = 1024;

/** As `rewriteCommandLines`, in GRUB's environment block, which keeps its size. */
export function rewriteEnvironmentBlock(text: string, uuids: DeviceUuids): Rewritten {
  const rewritten = rewriteCommandLines(text.replace(/#+$/, ""), uuids);
  const size = Math.max(Buffer.byteLength(text), ENVIRONMENT_BLOCK_BYTES);
  const filling = "#".repeat(Math.max(0, size - Buffer.byteLength(rewritten.text)));
  return { ...rewritten, text: `${rewritten.text}${filling}` };
}

class Notes {
  readonly #uuids: DeviceUuids;
  readonly #changes = new Set<string>();
  readonly #unknown = new Set<string>();

  constructor(uuids: DeviceUuids) {
    this.#uuids = uuids;
  }

  /** What a device's name becomes; undefined when it stays. */
  replace(device: string): string | undefined {
    const uuid = this.#uuids.get(device);
    if (uuid !== undefined) this.#changes.add(`${device} → ${uuid}`);
    else if (followsHardware(device)) this.#unknown.add(device);
    return uuid;
  }

  result(text: string): Rewritten {
    return { text, changes: [...this.#changes], unknown: [...this.#unknown] };
  }
}
