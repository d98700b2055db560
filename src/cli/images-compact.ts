import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { BOOT_TEST_TYPE } from "../freezer/boot-evidence.ts";
import { parseReference } from "../image/reference.ts";
import { type CompactReport, compactImages } from "../store/compact.ts";
import { collectGarbage } from "../store/gc.ts";
import { ImageStore } from "../store/image-store.ts";
import { LABELS_TYPE } from "../store/labels.ts";
import { formatBytes } from "../units.ts";
import { garbageText } from "./garbage-text.ts";
import { type CleanFlags, cleaning } from "./images-clean.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";

interface CompactFlags extends CleanFlags {
  all?: boolean;
  published?: boolean;
}

/** `doppel images compact`: packs of which much is dead are written anew. */
export function compactCommand(): Command {
  return cleaning(new Command("compact").argument("[ref...]"))
    .description(
      "repack packs of which no image uses more than a quarter; the digests of their images change, names and children follow",
    )
    .option("--all", "look at the packs of all images")
    .option("--published", "also of images that a registry has; there they keep their digests")
    .action(compact);
}

async function compact(refs: string[], flags: CompactFlags): Promise<void> {
  if (refs.length > 0 === (flags.all === true)) {
    throw new DoppelError("usage", "say which images to compact, or --all", { exitCode: EXIT.usage });
  }
  const dryRun = flags.dryRun === true;
  const report = await compactStore(refs, flags, dryRun);
  // Opened anew: what this process itself has claimed until here must not hold up the collection.
  await using store = await ImageStore.open();
  const garbage = await collectGarbage(store, { dryRun, graceMs: flags.grace });
  if (flags.json) return printJson({ ...report, garbage });
  process.stdout.write(`${compactText(report)}${dryRun ? "" : garbageText(garbage)}`);
}

async function compactStore(
  refs: readonly string[],
  flags: CompactFlags,
  dryRun: boolean,
): Promise<CompactReport> {
  await using store = await ImageStore.open();
  return await compactImages(store, {
    images: flags.all ? undefined : refs.map((ref) => store.find(parseReference(ref))),
    // The disks are the same, so what a boot showed holds for the new image, too.
    movable: [BOOT_TEST_TYPE, LABELS_TYPE],
    published: flags.published === true,
    dryRun,
    signal: interruptSignal(),
  });
}

function compactText({ dryRun, packs, deadBytes, images, skipped }: CompactReport): string {
  const what = `${packs} packs with ${formatBytes(deadBytes)} that no image uses`;
  const lines = [`${dryRun ? "would repack" : "repacked"} ${what}`];
  for (const { names, before, after } of images) {
    const name = names.join(", ") || "an image without a name";
    if (dryRun) lines.push(`  ${name} would get another digest than ${before}`);
    else if (after === null) lines.push(`  ${name} was changed meanwhile and stays ${before}`);
    else lines.push(`  ${name} was ${before}, is ${after}`);
  }
  for (const { pack, deadBytes, why } of skipped)
    lines.push(`  not ${pack}, ${formatBytes(deadBytes)}: ${why.join("; ")}`);
  return `${lines.join("\n")}\n`;
}
