import { Command } from "commander";
import { DoppelError } from "../errors.ts";
import { BOOT_TEST_TYPE } from "../freezer/boot-test.ts";
import { formatReference, parseLocalReference, parseReference } from "../image/reference.ts";
import { saveAttachment } from "../store/attachments.ts";
import type { Attachment } from "../store/catalog.ts";
import { parseFilters } from "../store/filter.ts";
import { refuseInUse } from "../store/gc.ts";
import { ImageStore } from "../store/image-store.ts";
import { barWidth, drawImage, drawingJson } from "./image-drawing.ts";
import { addCleaningCommands } from "./images-clean.ts";
import { addCompactCommand } from "./images-compact.ts";
import { diffCommand } from "./images-diff.ts";
import { nameCommands } from "./images-names.ts";
import { addPruneCommand } from "./images-prune.ts";
import { addRepairCommand } from "./images-repair.ts";
import { revokeCommand } from "./images-revoke.ts";
import { signCommands } from "./images-sign.ts";
import { describeImage, imageTable } from "./images-text.ts";
import { trustFacts, trustText } from "./images-trust-text.ts";
import { addVerifyCommand } from "./images-verify.ts";
import { listedImages } from "./listed-images.ts";
import { printJson } from "./output.ts";

interface JsonOption {
  json?: boolean;
}

/** `doppel images …`: what the store holds. */
export function imagesCommand(): Command {
  const command = new Command("images").description("the images on this machine");
  command
    .command("ls", { isDefault: true })
    .description("list them, the newest first")
    .option(
      "--filter <text>",
      "only what meets it: host=db1, os=debian, name=web*, tag!=latest, grade=, boots=yes, label.team=web, revoked=yes, captured>7d; can be given again",
      (text: string, all: string[]) => [...all, text],
      [],
    )
    .option("--json", "print the result as JSON")
    .action(list);
  command
    .command("show <ref>")
    .description(
      "what an image holds, what was captured how, what a conversion changed, and whether it boots",
    )
    .option(
      "--evidence <folder>",
      "write the files of its last boot test there: report, console log, screenshot",
    )
    .option("--json", "print the result as JSON")
    .action(show);
  command
    .command("diff <a> <b>")
    .description(
      "what changed between two images, by disk and file system, from the hashes of their clusters",
    )
    .option("--files", "by file: added, removed, changed; with --json a line for each")
    .option("--json", "print the result as JSON")
    .action(diffCommand);
  command
    .command("tag <ref> <name>")
    .description("give an image another name; a name that is there already moves to it")
    .option("--json", "print the result as JSON")
    .action(tag);
  command
    .command("untag <ref>")
    .description("take a name away; what it named stays until 'doppel images gc'")
    .option("--json", "print the result as JSON")
    .action(untag);
  addVerifyCommand(command);
  addRepairCommand(command);
  addCleaningCommands(command);
  addPruneCommand(command);
  addCompactCommand(command);
  for (const one of [...nameCommands(), ...signCommands(), revokeCommand()]) command.addCommand(one);
  return command;
}

async function list(options: JsonOption & { filter: string[] }): Promise<void> {
  const meets = parseFilters(options.filter);
  const now = new Date();
  await using store = await ImageStore.open();
  const images = (await listedImages(store)).filter((image) => meets(image, now));
  if (options.json) printJson(images);
  else process.stdout.write(imageTable(images, now));
}

async function show(ref: string, options: JsonOption & { evidence?: string }): Promise<void> {
  await using store = await ImageStore.open();
  const image = await store.resolve(parseReference(ref));
  const attachments = store.catalog.attachments(image.digest);
  const tests = attachments.filter(({ artifactType }) => artifactType === BOOT_TEST_TYPE);
  const trust = await trustFacts(store, image.digest);
  if (options.evidence !== undefined) await writeEvidence(store, ref, tests[0], options.evidence);
  const drawing = await drawImage(store, image, barWidth(process.stdout.columns));
  if (options.json) {
    const { doppel } = image.config;
    return printJson({
      digest: image.digest,
      ...doppel,
      ...drawingJson(drawing),
      manifest: image.manifest,
      attachments,
      ...trust,
    });
  }
  process.stdout.write(describeImage(image, store.catalog.tagsOf(image.digest), tests, drawing));
  process.stdout.write(trustText(trust, image.digest));
}

async function writeEvidence(
  store: ImageStore,
  ref: string,
  test: Attachment | undefined,
  folder: string,
): Promise<void> {
  if (!test) {
    throw new DoppelError("evidence-missing", `${ref} has had no boot test`, {
      hint: `doppel boot-test ${ref}`,
    });
  }
  for (const path of await saveAttachment(store, test.digest, folder))
    process.stderr.write(`evidence: ${path}\n`);
}

async function tag(ref: string, name: string, options: JsonOption): Promise<void> {
  const reference = parseLocalReference(name);
  await using store = await ImageStore.open();
  const digest = store.find(parseReference(ref));
  const before = store.tag(reference, digest);
  if (options.json) return printJson({ name: formatReference(reference), digest, before: before ?? null });
  const moved = before !== undefined && before !== digest ? `, no longer ${before}` : "";
  process.stdout.write(`${formatReference(reference)} is ${digest}${moved}\n`);
}

async function untag(ref: string, options: JsonOption): Promise<void> {
  const reference = parseLocalReference(ref);
  await using store = await ImageStore.open();
  const { digest } = store.untag(reference, refuseInUse(store, reference));
  if (options.json) printJson({ name: formatReference(reference), digest });
  else process.stdout.write(`${formatReference(reference)} no longer names ${digest}\n`);
}
