import { Command, Option } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { formatReference, parseLocalReference } from "../image/reference.ts";
import { DISK_FORMAT_NAMES } from "../import/disk-format.ts";
import { type ImportResult, importImage, planImport } from "../import/import.ts";
import type { NamedCard } from "../import/machine.ts";
import type { ImportEvents, ImportOptions } from "../import/prepare.ts";
import { isCardName, isMac } from "../machine/network-card.ts";
import { describeFacts } from "../machine/tree.ts";
import { ImageStore } from "../store/image-store.ts";
import { formatBytes, formatSeconds } from "../units.ts";
import { importText } from "./import-text.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { createProgress, type Progress } from "./progress.ts";

interface ImportFlags {
  name: string;
  format?: string;
  level: string;
  onReadError: "stop" | "zero";
  allowExternal?: boolean;
  inspect: boolean;
  card: NamedCard[];
  dryRun?: boolean;
  json?: boolean;
}

/** `doppel import FILE… --name REF`. */
export function importCommand(): Command {
  return new Command("import")
    .description("make an image of disk images of other programs, or of an OVA")
    .argument(
      "<file...>",
      `a disk image (${DISK_FORMAT_NAMES.join(", ")}; packed, or made by partclone), one for each disk; or one OVA, OVF or folder of Clonezilla`,
    )
    .requiredOption("--name <ref>", "the image's name")
    .addOption(
      new Option("--format <name>", "what the files are, instead of what they begin with").choices(
        DISK_FORMAT_NAMES,
      ),
    )
    .option("--level <n>", "zstd level, 1 to 19", "3")
    .addOption(
      new Option("--on-read-error <what>", "stop, or go on with zeros in place of what cannot be read")
        .choices(["stop", "zero"])
        .default("stop"),
    )
    .option("--allow-external", "follow the files that a disk image names: backing files, extents")
    .option("--no-inspect", "do not look into the disks for host name, system and file systems")
    .option(
      "--card <name=mac>",
      "a network card, by the name that the machine's system gives it; may be given again",
      readCard,
      [],
    )
    .option("--dry-run", "say what the files hold and what would be taken, and stop")
    .option("--json", "print the result as JSON")
    .action(run);
}

async function run(files: string[], flags: ImportFlags): Promise<void> {
  const reference = parseLocalReference(flags.name);
  const options = readOptions(flags);
  await using store = await ImageStore.open();
  const progress = createProgress("import");
  const events = eventsOf(progress, options);
  try {
    if (flags.dryRun) {
      const prepared = await planImport(files, store.blobs.uploads, options, events);
      progress.stop();
      if (flags.json) printJson({ dryRun: true, ...prepared });
      else
        process.stdout.write(
          `${describeFacts(prepared.facts)}\nAn import would take:\n${importText(prepared)}`,
        );
      return;
    }
    const result = await importImage(store, reference, files, options, events);
    progress.stop();
    const name = formatReference(reference);
    if (flags.json) printJson(resultAsJson(name, result));
    else process.stdout.write(resultText(name, result));
  } finally {
    progress.stop();
  }
}

function readOptions(flags: ImportFlags): ImportOptions {
  const level = Number(flags.level);
  if (!Number.isInteger(level) || level < 1 || level > 19) {
    throw new DoppelError("usage", `'${flags.level}' is not a level from 1 to 19`, { exitCode: EXIT.usage });
  }
  return {
    level,
    onReadError: flags.onReadError,
    format: flags.format,
    allowExternal: flags.allowExternal === true,
    inspect: flags.inspect,
    cards: flags.card,
    signal: interruptSignal(),
  };
}

function readCard(text: string, others: NamedCard[]): NamedCard[] {
  const [name = "", address = ""] = text.split("=", 2);
  const mac = address.toLowerCase();
  if (!isCardName(name) || !isMac(mac))
    throw new DoppelError("usage", `'${text}' is not a card's name and address`, {
      exitCode: EXIT.usage,
      hint: "for instance --card ens192=00:50:56:ab:cd:ef",
    });
  if (others.some((other) => other.name === name || other.mac === mac))
    throw new DoppelError("usage", `'${text}' names a card or an address for the second time`, {
      exitCode: EXIT.usage,
    });
  return [...others, { name, mac }];
}

function eventsOf(progress: Progress, { inspect }: ImportOptions): ImportEvents {
  return {
    stage: (what) => progress.log(`import: ${what}`),
    prepared: (prepared) => {
      if (inspect) progress.log(describeFacts(prepared.facts).split("\n", 1)[0] ?? "");
      progress.log(importText(prepared).trimEnd());
    },
    progress: ({ storedBytes, ...done }) =>
      progress.update({ ...done, note: `stored ${formatBytes(storedBytes)}` }),
    warning: (message) => progress.log(`warning: ${message}`),
  };
}

function resultText(name: string, { image, totals, storedBytes, readErrors }: ImportResult): string {
  const seconds = Math.max(totals.elapsedMilliseconds / 1000, 0.001);
  const errors = readErrors.flat().length;
  return (
    `${name}: ${image.digest}\n` +
    `read ${formatBytes(totals.readBytes)}, stored ${formatBytes(storedBytes)} in ${formatSeconds(seconds)} ` +
    `(${formatBytes(totals.readBytes / seconds)}/s), grade ${image.config.doppel.grade}` +
    `${errors > 0 ? `, ${errors} read errors` : ""}\n`
  );
}

function resultAsJson(name: string, { image, totals, storedBytes }: ImportResult) {
  const { disks, grade, host, import: record } = image.config.doppel;
  return {
    ...totals,
    ...record,
    name,
    digest: image.digest,
    grade,
    host,
    disks: disks.map(({ regions: _, ...disk }) => disk),
    storedBytes,
  };
}
