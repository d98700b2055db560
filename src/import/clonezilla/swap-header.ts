import { recordLayout } from "../../image/record.ts";

const PAGE_BYTES = 4096;

/** The kernel's include/linux/swap.h: union swap_header. */
const SWAP_HEADER = recordLayout("little", PAGE_BYTES, {
  version: [1024, "u32"],
  lastPage: [1028, "u32"],
  uuid: [1036, "bytes16"],
  label: [1052, "bytes16"],
  magic: [4086, "bytes10"],
});

/** The first page of an empty swap partition, from the `UUID="…"` and `LABEL="…"` that Clonezilla keeps of one. */
export function swapHeader(info: string, sizeBytes: number): Buffer {
  const field = (name: string) => new RegExp(`^${name}="?([^"\n]*)"?$`, "m").exec(info)?.[1] ?? "";
  const uuid = Buffer.alloc(16);
  uuid.write(field("UUID").replaceAll("-", ""), "hex");
  const label = Buffer.alloc(16);
  label.write(field("LABEL"));
  const lastPage = Math.min(Math.floor(sizeBytes / PAGE_BYTES) - 1, 0xffff_ffff);
  return SWAP_HEADER.write({ version: 1, lastPage, uuid, label, magic: Buffer.from("SWAPSPACE2") });
}
