import type { MachineFacts } from "../../machine/facts.ts";

/** Names that follow a disk's place: another controller gives it another one. */
const PLACE_NAME = /^\/dev\/(?:sd|hd|vd|xvd)[a-z]+\d*$|^\/dev\/(?:nvme\d+n\d+|mmcblk\d+)(?:p\d+)?$/;
const UUID = /^[0-9A-Za-z-]{4,40}$/;

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
