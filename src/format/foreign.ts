import { join } from "node:path";
import { DoppelError } from "../errors.ts";
import { CLUSTER_BYTES } from "../image/cluster.ts";
import { ClusterReader } from "../image/cluster-reader.ts";
import type { DiskReader } from "../image/disk-reader.ts";
import { DiskExport } from "../nbd/disk-export.ts";
import { NbdServer } from "../nbd/server.ts";
import type { OutputFile } from "../output-file.ts";
import { runProgram } from "../run-program.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import type { DiskFormat, WriteOptions } from "./format.ts";

interface ForeignFormat {
  name: string;
  extensions: readonly string[];
  /** The format as qemu-img names it, and its options. */
  driver: string;
  options?: string;
}

/** Formats that qemu-img writes; it reads the disk over NBD. */
const FOREIGN: readonly ForeignFormat[] = [
  { name: "vhdx", extensions: [".vhdx"], driver: "vhdx", options: "subformat=dynamic" },
  // The exact size instead of the next that fits cylinders, heads and sectors.
  { name: "vhd", extensions: [".vhd", ".vpc"], driver: "vpc", options: "subformat=dynamic,force_size=on" },
  { name: "vdi", extensions: [".vdi"], driver: "vdi" },
  { name: "qed", extensions: [".qed"], driver: "qed" },
  { name: "parallels", extensions: [".hds"], driver: "parallels" },
];

/** Any disk is converted in a day. */
const MOST_MS = 24 * 3600 * 1000;

export const FOREIGN_FORMATS: readonly DiskFormat[] = FOREIGN.map((format) => ({
  name: format.name,
  extensions: format.extensions,
  prepare: async (disk) => ({
    occupiedBytes: disk.map.coveredClusters * CLUSTER_BYTES,
    write: (output, options) => convert(disk, format, output, options),
  }),
}));

/** qemu-img writes to the very file that is open: it is synced and renamed as those of our own formats are. */
async function convert(
  disk: DiskReader,
  { driver, options: formatOptions }: ForeignFormat,
  output: OutputFile,
  options: WriteOptions,
): Promise<void> {
  await using folder = await temporaryFolder("export");
  const socketPath = join(folder.path, "nbd");
  const reader = new ClusterReader(disk);
  await using _server = await NbdServer.start({ socketPath, exports: [new DiskExport("disk", reader)] });
  const args = ["convert", "-f", "raw", "-O", driver, ...(formatOptions ? ["-o", formatOptions] : [])];
  const source = `nbd:unix:${socketPath}:exportname=disk`;
  await runProgram("qemu-img", [...args, source, output.path], {
    timeoutMs: MOST_MS,
    ...(options.signal ? { signal: options.signal } : {}),
  }).catch((error: unknown) => {
    throw spaceError(error);
  });
  const totalBytes = disk.map.coveredClusters * CLUSTER_BYTES;
  options.onProgress?.({ doneBytes: totalBytes, totalBytes });
}

/** A full disk is known by its system error's name, whoever met it. */
function spaceError(error: unknown): unknown {
  if (!(error instanceof Error) || !/No space left on device/.test(error.message)) return error;
  return new DoppelError("ENOSPC", error.message, { cause: error });
}
