import type { Guestfish } from "../guestfish.ts";

/** A partition of what sfdisk(8) writes with --dump; its name, which anybody could have given it, comes behind its type. */
const PARTITION = /^(\/dev\/[a-z0-9]+) : .*?\btype=([0-9A-Fa-f-]+)/;

/** Partitions and their types: a GUID in upper case of GPT, `0x7` and so on of MBR. */
export async function partitionTypes(guestfish: Guestfish): Promise<{ device: string; type: string }[]> {
  const found = [];
  for (const disk of await guestfish.lines("list-devices")) {
    // One program for all partitions: libguestfs's own commands start two for each, a second where processors are emulated.
    for (const line of await guestfish.lines("debug", "sh", `sfdisk --dump ${disk} 2>/dev/null || true`)) {
      const [, device = "", type = ""] = PARTITION.exec(line) ?? [];
      if (device !== "") found.push({ device, type: type.includes("-") ? type.toUpperCase() : `0x${type}` });
    }
  }
  return found;
}
