import { Command, Option } from "commander";
import { convertImage } from "../guest/convert.ts";
import { findTarget, TARGET_NAMES } from "../guest/target.ts";
import { formatReference, parseLocalReference, parseReference } from "../image/reference.ts";
import { ImageStore } from "../store/image-store.ts";
import { formatBytes } from "../units.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";

interface ConvertFlags {
  to: string;
  name: string;
  root?: string;
  dryRun?: boolean;
  json?: boolean;
}

/** `doppel convert REF --to TARGET --name REF`: a child image that boots on other hardware. */
export function convertCommand(): Command {
  return new Command("convert")
    .description("make a child of an image that boots on other hardware; the image itself stays as it is")
    .argument("<ref>", "the image")
    .addOption(
      new Option("--to <target>", "the hardware it is to boot on")
        .choices(TARGET_NAMES)
        .makeOptionMandatory(),
    )
    .requiredOption("--name <ref>", "the name of the child image")
    .option("--root <device>", "which system, when the disks hold several")
    .option("--dry-run", "say what would be changed and why, and stop")
    .option("--json", "print the result as JSON")
    .action(run);
}

async function run(ref: string, flags: ConvertFlags): Promise<void> {
  const child = parseLocalReference(flags.name);
  await using store = await ImageStore.open();
  await using _name = store.reserveName(child);
  const image = await store.resolve(parseReference(ref));
  const result = await convertImage(store, image, child, {
    target: findTarget(flags.to),
    ...(flags.root === undefined ? {} : { root: flags.root }),
    dryRun: flags.dryRun === true,
    signal: interruptSignal(),
    onStage: (what) => process.stderr.write(`convert: ${what}\n`),
  });
  const { system, steps, skippedMounts } = result;
  const name = formatReference(child);
  if (flags.json) {
    const sealed = result.child && {
      name,
      digest: result.child.image.digest,
      changedBytes: result.child.changedBytes,
    };
    return printJson({ dryRun: flags.dryRun === true, system, steps, skippedMounts, ...(sealed ?? {}) });
  }
  process.stdout.write(`${system.productName} on ${system.root}\n`);
  for (const { what, why } of steps) process.stdout.write(`  ${what}\n      ${why}\n`);
  for (const path of skippedMounts) process.stdout.write(`  not mounted: ${path}\n`);
  if (result.child)
    process.stdout.write(
      `${name}: ${result.child.image.digest}, ${formatBytes(result.child.changedBytes)} differ\n`,
    );
}
