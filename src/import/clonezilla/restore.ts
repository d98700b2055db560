import { stat } from "node:fs/promises";
import { DoppelError } from "../../errors.ts";
import { OutputFile } from "../../output-file.ts";
import { runProgram } from "../../run-program.ts";
import { HEAD_BYTES } from "../disk-format.ts";
import { readHead } from "../read-head.ts";
import { type UnpackOptions, unpack } from "../unpack.ts";
import type { ClonezillaDisk } from "./folder.ts";
import { swapHeader } from "./swap-header.ts";

const SECTOR_BYTES = 512;
/** The code of an MBR, and the disk's signature behind it; then the table begins, which sfdisk writes. */
const BOOT_CODE_BYTES = 440;

/**
 * Makes a raw disk at `target` from a folder of Clonezilla: the table by sfdisk, boot code, and every partition in its place.
 * Throws `disk-image-invalid`.
 */
export async function restoreDisk(disk: ClonezillaDisk, options: UnpackOptions): Promise<void> {
  const { target } = options;
  await writeTable(disk, options);
  for (const { name, content, offsetBytes, sizeBytes } of disk.partitions) {
    options.signal?.throwIfAborted();
    if (content.kind === "image")
      await unpack(content.path, await readHead(content.path, HEAD_BYTES), {
        ...options,
        place: { offsetBytes, sizeBytes },
      });
    else if (content.kind === "swap")
      await edit(target, (output) => output.writeAt(swapHeader(content.info, sizeBytes), offsetBytes));
    if ((await stat(target)).size > disk.sizeBytes)
      throw new DoppelError("disk-image-invalid", `the image of ${name} is larger than the partition`);
  }
}

async function writeTable(disk: ClonezillaDisk, { target, signal }: UnpackOptions): Promise<void> {
  const output = await OutputFile.create(target);
  await output.truncate(disk.sizeBytes);
  await output.close();
  const { exitCode, stderr } = await runProgram("sfdisk", ["--quiet", "--wipe=never", target], {
    input: disk.table,
    allowFailure: true,
    ...(signal ? { signal } : {}),
  });
  if (exitCode !== 0) {
    throw new DoppelError(
      "disk-image-invalid",
      `the partition table of ${disk.name} cannot be written: ${stderr.trim().split("\n").at(-1) ?? ""}`,
    );
  }
  const first = Math.min(...disk.partitions.map(({ offsetBytes }) => offsetBytes));
  await edit(target, async (file) => {
    if (disk.bootSector) await file.writeAt(disk.bootSector.subarray(0, BOOT_CODE_BYTES), 0);
    if (disk.bootGap) await file.writeAt(disk.bootGap.subarray(0, first - SECTOR_BYTES), SECTOR_BYTES);
  });
}

async function edit(path: string, change: (output: OutputFile) => Promise<void>): Promise<void> {
  const output = await OutputFile.open(path);
  try {
    await change(output);
  } finally {
    await output.close();
  }
}
