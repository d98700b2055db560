import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { chooseFormat, exportDisk } from "../format/export.ts";
import { parseReference } from "../image/reference.ts";
import { ImageStore, type StoredImage } from "../store/image-store.ts";
import { formatBytes, formatSeconds } from "../units.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { createProgress } from "./progress.ts";

interface ExportFlags {
  output: string;
  format?: string;
  disk?: string;
  force?: boolean;
  verify: boolean;
  json?: boolean;
}

/** `doppel export REF -o FILE`: a disk of an image as a file. */
export function exportCommand(): Command {
  return new Command("export")
    .description("write a disk of an image as qcow2 or raw; qcow2 takes the image's frames as they are")
    .argument("<ref>", "the image")
    .requiredOption("-o, --output <file>", "the file to write")
    .option("--format <name>", "qcow2 or raw; by default what the file's ending means, else qcow2")
    .option("--disk <n>", "which disk, by name or counted from 0; needed when there are several")
    .option("--force", "replace a file that is there")
    .option("--no-verify", "do not compare the packs with their digests while copying")
    .option("--json", "print the result as JSON")
    .action(run);
}

async function run(ref: string, flags: ExportFlags): Promise<void> {
  const format = chooseFormat(flags.format, flags.output);
  await using store = await ImageStore.open();
  const image = await store.resolve(parseReference(ref));
  const index = chooseDisk(image, flags.disk);
  await using disk = await store.openDisk(image, index);
  const progress = createProgress(`export ${format.name}`);
  try {
    const result = await exportDisk(disk, {
      path: flags.output,
      format,
      force: flags.force === true,
      ...(flags.verify ? { openPack: (digest: string) => store.blobs.openBlob(digest) } : {}),
      onProgress: progress.update,
      signal: interruptSignal(),
    });
    progress.stop();
    const rate = formatBytes(result.fileBytes / Math.max(result.elapsedSeconds, 0.001));
    if (flags.json) printJson({ image: image.digest, disk: index, ...result });
    else {
      const size = formatBytes(result.fileBytes);
      process.stdout.write(
        `${result.path}: ${result.format}, ${size} in ${formatSeconds(result.elapsedSeconds)}, ${rate}/s\n`,
      );
    }
  } finally {
    progress.stop();
  }
}

function chooseDisk(image: StoredImage, wanted: string | undefined): number {
  const names = image.config.doppel.disks.map((disk) => disk.name);
  if (wanted === undefined && names.length === 1) return 0;
  const named = names.indexOf(wanted ?? "");
  const index = named >= 0 ? named : Number(wanted ?? "none");
  if (Number.isInteger(index) && index >= 0 && index < names.length) return index;
  const what =
    wanted === undefined ? `the image has ${names.length} disks` : `the image has no disk '${wanted}'`;
  throw new DoppelError("disk-unknown", what, {
    hint: `choose one with --disk: ${names.join(", ")}`,
    exitCode: EXIT.usage,
  });
}
