import { once } from "node:events";
import { Command } from "commander";
import { diffFiles } from "../guest/files/diff.ts";
import { parseReference } from "../image/reference.ts";
import { printable } from "../printable.ts";
import { type DiskDiff, diffImages, type ImageDiff } from "../store/diff.ts";
import { ImageStore } from "../store/image-store.ts";
import { formatBytes } from "../units.ts";
import { changeOf, differenceJson, differenceText } from "./file-diff-text.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson, table } from "./output.ts";

/** `doppel images diff A B`: what changed between two images. */
export function diffCommand(): Command {
  return new Command("diff")
    .description(
      "what changed between two images, by disk and file system, from the hashes of their clusters",
    )
    .argument("<a>")
    .argument("<b>")
    .option("--files", "by file: added, removed, changed; with --json a line for each")
    .option("--json", "print the result as JSON")
    .action(diff);
}

async function diff(
  left: string,
  right: string,
  options: { json?: boolean; files?: boolean },
): Promise<void> {
  if (options.files) return await filesCommand(left, right, options.json === true);
  await using store = await ImageStore.open();
  const [before, after] = [
    await store.resolve(parseReference(left)),
    await store.resolve(parseReference(right)),
  ];
  const changes = await diffImages(store, before, after, interruptSignal());
  if (options.json) printJson(changes);
  else process.stdout.write(diffText(changes, left, right));
}

/** `--files`: with `--json` a line of JSON for each file, as there may be millions of them. */
async function filesCommand(left: string, right: string, json: boolean): Promise<void> {
  await using store = await ImageStore.open();
  const images = [
    await store.resolve(parseReference(left)),
    await store.resolve(parseReference(right)),
  ] as const;
  const onStage = (what: string) => process.stderr.write(`diff: ${printable(what)}\n`);
  const signal = interruptSignal();
  const changes = { added: 0, removed: 0, changed: 0 };
  for await (const difference of diffFiles(store, images, { signal, onStage })) {
    changes[changeOf(difference)]++;
    const line = json ? JSON.stringify(differenceJson(difference)) : differenceText(difference);
    if (!process.stdout.write(`${line}\n`)) await once(process.stdout, "drain", { signal });
  }
  const { added, removed, changed } = changes;
  process.stderr.write(`${added} added, ${removed} removed, ${changed} changed\n`);
}

function diffText({ changedBytes, disks }: ImageDiff, left: string, right: string): string {
  const whole = changedBytes === 0 ? "nothing differs" : `${formatBytes(changedBytes)} differ`;
  return `${left} and ${right}: ${whole}\n${disks.map(diskText).join("")}`;
}

function diskText({ name, state, sizeBytes: [before, after], changedBytes, regions }: DiskDiff): string {
  const sizes = before === after ? "" : `, ${sizeText(before)} became ${sizeText(after)}`;
  const what = state === "changed" ? formatBytes(changedBytes) : state;
  const rows = regions.map(({ kind, path, mountpoint, offsetBytes, changedBytes }) => [
    `  ${path ?? `at byte ${offsetBytes}`}`,
    kind,
    mountpoint ?? "",
    formatBytes(changedBytes),
  ]);
  return `disk ${name}: ${what}${sizes}\n${rows.length > 0 ? table(rows, [3]) : ""}`;
}

function sizeText(bytes: number | null): string {
  return bytes === null ? "nothing" : formatBytes(bytes);
}
