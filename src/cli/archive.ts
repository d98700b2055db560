import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { parseReference } from "../image/reference.ts";
import { refuseExisting, writeOutputFile } from "../output-file.ts";
import { loadArchive, type SavedImage, type SaveReport, saveArchive } from "../store/archive.ts";
import { ImageStore } from "../store/image-store.ts";
import { formatBytes } from "../units.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { createProgress } from "./progress.ts";

/** `doppel save REF… -o TAR`: images as one file. */
export function saveCommand(): Command {
  return new Command("save")
    .description("write images as one tar of an OCI image layout, for a site without a network")
    .argument("<ref...>", "the images; what they share is in it once")
    .requiredOption("-o, --output <file>", "the file to write, or - for standard output")
    .option("--force", "replace a file that is there")
    .option("--json", "print the result as JSON")
    .action(save);
}

/** `doppel load TAR`: the images of such a file. */
export function loadCommand(): Command {
  return new Command("load")
    .description("take up the images of a tar that 'doppel save' wrote")
    .argument("<file>", "the tar, or - for standard input")
    .option("--json", "print the result as JSON")
    .action(load);
}

interface SaveFlags {
  output: string;
  force?: boolean;
  json?: boolean;
}

async function save(refs: string[], flags: SaveFlags): Promise<void> {
  const toStdout = flags.output === "-";
  if (toStdout && flags.json) {
    throw new DoppelError("usage", "--json and the tar cannot both go to standard output", {
      exitCode: EXIT.usage,
    });
  }
  const path = resolve(flags.output);
  if (!toStdout) await refuseExisting(path, flags.force === true);
  await using store = await ImageStore.open();
  const images: SavedImage[] = [];
  for (const ref of refs) {
    const reference = parseReference(ref);
    images.push({ reference, image: await store.resolve(reference) });
  }
  const progress = createProgress("save");
  let report: SaveReport;
  try {
    const write = toStdout ? toStandardOutput : (tar: AsyncIterable<Buffer>) => toFile(path, tar);
    report = await saveArchive(store, images, write, progress.update);
  } finally {
    progress.stop();
  }
  if (flags.json) printJson({ path, ...report });
  else if (!toStdout) process.stdout.write(`${path}: ${refs.join(", ")}, ${formatBytes(report.bytes)}\n`);
}

async function toStandardOutput(tar: AsyncIterable<Buffer>): Promise<void> {
  await pipeline(tar, process.stdout, { signal: interruptSignal() });
}

async function toFile(path: string, tar: AsyncIterable<Buffer>): Promise<void> {
  const signal = interruptSignal();
  await writeOutputFile(path, async (output) => {
    let at = 0;
    for await (const piece of tar) {
      signal.throwIfAborted();
      await output.writeAt(piece, at);
      at += piece.length;
    }
  });
}

async function load(file: string, flags: { json?: boolean }): Promise<void> {
  const fromStdin = file === "-";
  const totalBytes = fromStdin ? 0 : (await stat(file)).size;
  await using store = await ImageStore.open();
  const tar: Readable = fromStdin ? process.stdin : createReadStream(file, { highWaterMark: 1024 * 1024 });
  const signal = interruptSignal();
  signal.addEventListener("abort", () => tar.destroy(signal.reason));
  const progress = createProgress("load");
  let doneBytes = 0;
  try {
    const report = await loadArchive(store, tar, (bytes) => {
      doneBytes += bytes;
      progress.update({ doneBytes, totalBytes: Math.max(totalBytes, doneBytes) });
    });
    progress.stop();
    if (flags.json) return printJson(report);
    const names = report.images.map(({ ref }) => ref).join(", ");
    process.stdout.write(`${names}: ${formatBytes(report.newBytes)} that were not here\n`);
  } finally {
    progress.stop();
  }
}
