import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import {
  chooseFormat,
  type ExportResult,
  exportDisk,
  exportOva,
  type FileOptions,
  FORMAT_NAMES,
  isOva,
} from "../format/export.ts";
import type { DiskReader } from "../image/disk-reader.ts";
import { parseReference } from "../image/reference.ts";
import { ImageStore, type StoredImage } from "../store/image-store.ts";
import { formatBytes, formatSeconds } from "../units.ts";
import { chooseDisk } from "./choose-disk.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { createProgress } from "./progress.ts";
import { resolveTrusted, type TrustFlags, withUseOptions } from "./trust-options.ts";

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
  return withUseOptions(new Command("export"))
    .description(
      "write a disk of an image as a file, or all of it as an OVA; qcow2 takes the image's frames as they are",
    )
    .argument("<ref>", "the image")
    .requiredOption("-o, --output <file>", "the file to write")
    .option(
      "--format <name>",
      `${FORMAT_NAMES.join(", ")}; by default what the file's ending means, else qcow2`,
    )
    .option("--disk <n>", "which disk, by name or counted from 0; needed when there are several")
    .option("--force", "replace a file that is there")
    .option("--no-verify", "do not compare the packs with their digests while copying")
    .option("--json", "print the result as JSON")
    .action(run);
}

async function run(ref: string, flags: ExportFlags & TrustFlags): Promise<void> {
  const reference = parseReference(ref);
  const whole = isOva(flags.format, flags.output);
  await using store = await ImageStore.open();
  const image = await resolveTrusted(store, reference, flags);
  const progress = createProgress("export");
  const options: FileOptions = {
    path: flags.output,
    force: flags.force === true,
    ...(flags.verify ? { openPack: (digest: string) => store.blobs.openBlob(digest) } : {}),
    onProgress: progress.update,
    signal: interruptSignal(),
  };
  try {
    const result = whole
      ? await exportWhole(store, image, reference.name, flags, options)
      : await exportOne(store, image, flags, options);
    progress.stop();
    if (flags.json) printJson({ image: image.digest, ...result });
    else process.stdout.write(resultText(result));
  } finally {
    progress.stop();
  }
}

async function exportOne(
  store: ImageStore,
  image: StoredImage,
  flags: ExportFlags,
  options: FileOptions,
): Promise<ExportResult & { disk: number }> {
  const format = chooseFormat(flags.format, flags.output);
  const index = chooseDisk(image, flags.disk);
  await using disk = await store.openDisk(image, index);
  return { disk: index, ...(await exportDisk(disk, { ...options, format })) };
}

async function exportWhole(
  store: ImageStore,
  image: StoredImage,
  name: string,
  flags: ExportFlags,
  options: FileOptions,
): Promise<ExportResult> {
  if (flags.disk !== undefined) {
    throw new DoppelError("usage", "an OVA holds all disks of an image", {
      hint: "leave --disk out, or export the disk as VMDK",
      exitCode: EXIT.usage,
    });
  }
  const disks: DiskReader[] = [];
  try {
    for (const index of image.config.doppel.disks.keys()) disks.push(await store.openDisk(image, index));
    return await exportOva({ name: name.replaceAll("/", "-"), config: image.config, disks }, options);
  } finally {
    for (const disk of disks) await disk[Symbol.asyncDispose]();
  }
}

function resultText({ path, format, fileBytes, elapsedSeconds }: ExportResult): string {
  const rate = formatBytes(fileBytes / Math.max(elapsedSeconds, 0.001));
  return `${path}: ${format}, ${formatBytes(fileBytes)} in ${formatSeconds(elapsedSeconds)}, ${rate}/s\n`;
}
