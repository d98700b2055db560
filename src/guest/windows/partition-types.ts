import type { Guestfish } from "../guestfish.ts";

/** Partitions and their types: a GUID in upper case of GPT, `0x7` and so on of MBR; undefined of what has none. */
export async function partitionTypes(
  guestfish: Guestfish,
): Promise<{ device: string; type: string | undefined }[]> {
  const found = [];
  for (const device of await guestfish.lines("list-partitions")) {
    const type = await typeOf(guestfish, device);
    found.push({ device, type: type?.startsWith("0x") ? type : type?.toUpperCase() });
  }
  return found;
}

/** By one command where that knows it; libguestfs's own need four, of two programs each: a second where processors are emulated. */
async function typeOf(guestfish: Guestfish, device: string): Promise<string | undefined> {
  const [, type] = /^PART_ENTRY_TYPE: (.+)$/m.exec((await guestfish.tryRun("blkid", device)) ?? "") ?? [];
  if (type !== undefined) return type;
  // blkid says nothing of a partition that could hold one or another file system.
  const disk = await guestfish.run("part-to-dev", device);
  const number = await guestfish.run("part-to-partnum", device);
  const isGpt = (await guestfish.tryRun("part-get-parttype", disk)) === "gpt";
  return await guestfish.tryRun(isGpt ? "part-get-gpt-type" : "part-get-mbr-id", disk, number);
}
