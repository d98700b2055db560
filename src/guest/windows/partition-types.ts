import type { Guestfish } from "../guestfish.ts";

/** Partitions and their types: a GUID in upper case of GPT, `0x07` and so on of MBR; undefined of what has none. */
export async function partitionTypes(
  guestfish: Guestfish,
): Promise<{ device: string; type: string | undefined }[]> {
  const tables = new Map<string, string | undefined>();
  const found = [];
  for (const device of await guestfish.lines("list-partitions")) {
    const disk = await guestfish.run("part-to-dev", device);
    const number = await guestfish.run("part-to-partnum", device);
    if (!tables.has(disk)) tables.set(disk, await guestfish.tryRun("part-get-parttype", disk));
    const ask = tables.get(disk) === "gpt" ? "part-get-gpt-type" : "part-get-mbr-id";
    const type = await guestfish.tryRun(ask, disk, number);
    found.push({ device, type: ask === "part-get-gpt-type" ? type?.toUpperCase() : type });
  }
  return found;
}
