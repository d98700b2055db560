import { Command } from "commander";
import { formatReference, parseReference } from "../image/reference.ts";
import { collectGarbage, DEFAULT_GRACE_MS, holdsOf, refuseInUse } from "../store/gc.ts";
import type { Hold } from "../store/holders.ts";
import { ImageStore } from "../store/image-store.ts";
import { parseDuration } from "../units.ts";
import { garbageText, holdText } from "./garbage-text.ts";
import { printJson } from "./output.ts";

export interface CleanFlags {
  dryRun?: boolean;
  interrupted?: boolean;
  grace: number;
  json?: boolean;
}

/** `doppel images rm`, `gc`: what takes images and blobs away. */
export function cleaningCommands(): Command[] {
  return [
    cleaning(new Command("rm").argument("<ref>"))
      .description("take the name away, and the blobs that nothing else needs")
      .action(remove),
    cleaning(new Command("gc"))
      .description("remove blobs that no image needs, and what dead processes left")
      .option("--interrupted", "also what interrupted captures had received; otherwise that stays for a week")
      .action(collect),
  ];
}

/** The options that all of them have. */
export function cleaning(command: Command): Command {
  return command
    .option("--dry-run", "say what would go")
    .option(
      "--grace <duration>",
      "how long blobs that nothing needs lie in quarantine before they are unlinked; 0s: not at all (default: 10m)",
      parseDuration,
      DEFAULT_GRACE_MS,
    )
    .option("--json", "print the result as JSON");
}

async function remove(ref: string, flags: CleanFlags): Promise<void> {
  const reference = parseReference(ref);
  const dryRun = flags.dryRun === true;
  await using store = await ImageStore.open();
  const allow = refuseInUse(store, reference);
  const removal = dryRun ? store.removalOf(reference) : store.untag(reference, allow);
  if (dryRun) allow(removal);
  const report = await collectGarbage(store, { dryRun, graceMs: flags.grace, without: removal.names });
  const isTaken = ({ kind, by }: Hold) =>
    kind === "name" && removal.names.some((name) => formatReference(name) === by);
  const goes = report.images.includes(removal.digest);
  const keptBy = goes ? [] : holdsOf(store, removal.digest).filter((hold) => !isTaken(hold));
  if (flags.json) return printJson({ removed: ref, digest: removal.digest, keptBy, ...report });
  const kept = keptBy.length > 0 ? `; the image stays for ${keptBy.map(holdText).join(", ")}` : "";
  process.stdout.write(`${dryRun ? "would remove" : "removed"} ${ref}${kept}\n${garbageText(report)}`);
}

async function collect(flags: CleanFlags): Promise<void> {
  await using store = await ImageStore.open();
  const report = await collectGarbage(store, {
    dryRun: flags.dryRun === true,
    graceMs: flags.grace,
    keptCaptures: flags.interrupted !== true,
  });
  if (flags.json) printJson(report);
  else process.stdout.write(garbageText(report));
}
