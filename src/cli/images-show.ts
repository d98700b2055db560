import { Command } from "commander";
import { DoppelError } from "../errors.ts";
import { BOOT_TEST_TYPE } from "../freezer/boot-evidence.ts";
import { parseReference } from "../image/reference.ts";
import { saveAttachment } from "../store/attachments.ts";
import type { Attachment } from "../store/catalog.ts";
import { ImageStore } from "../store/image-store.ts";
import { barWidth, drawImage, drawingJson } from "./image-drawing.ts";
import { describeImage } from "./images-text.ts";
import { trustFacts, trustText } from "./images-trust-text.ts";
import { printJson } from "./output.ts";

/** `doppel images show`. */
export function showCommand(): Command {
  return new Command("show")
    .description(
      "what an image holds, what was captured how, what a conversion changed, and whether it boots",
    )
    .argument("<ref>")
    .option(
      "--evidence <folder>",
      "write the files of its last boot test there: report, console log, screenshot",
    )
    .option("--json", "print the result as JSON")
    .action(show);
}

async function show(ref: string, options: { json?: boolean; evidence?: string }): Promise<void> {
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
