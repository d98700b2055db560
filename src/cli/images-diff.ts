import { parseReference } from "../image/reference.ts";
import { type DiskDiff, diffImages, type ImageDiff } from "../store/diff.ts";
import { ImageStore } from "../store/image-store.ts";
import { formatBytes } from "../units.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson, table } from "./output.ts";

/** `doppel images diff A B`: what changed between two images. */
export async function diffCommand(left: string, right: string, options: { json?: boolean }): Promise<void> {
  await using store = await ImageStore.open();
  const [before, after] = [
    await store.resolve(parseReference(left)),
    await store.resolve(parseReference(right)),
  ];
  const diff = await diffImages(store, before, after, interruptSignal());
  if (options.json) printJson(diff);
  else process.stdout.write(diffText(diff, left, right));
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
