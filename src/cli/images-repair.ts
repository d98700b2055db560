import { Command } from "commander";
import { EXIT } from "../errors.ts";
import { parseReference } from "../image/reference.ts";
import { type RepairReport, repairImage } from "../registry/repair.ts";
import type { Repository } from "../registry/repository.ts";
import { ImageStore } from "../store/image-store.ts";
import { findingLines } from "./images-verify.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { createProgress } from "./progress.ts";
import { openRepository } from "./transfer.ts";

interface RepairFlags {
  from: string[];
  dryRun?: boolean;
  plainHttp?: boolean;
  json?: boolean;
}

/** `doppel images repair REF`: sound blobs in the place of bad ones. */
export function repairCommand(): Command {
  return new Command("repair")
    .argument("<ref>")
    .description(
      "verify an image, and put sound blobs in the place of bad ones; exit 4 when something is left",
    )
    .option(
      "--from <source>",
      "a registry's repository to fetch them from, or an image here that may have the same clusters; can be given again",
      (source: string, all: string[]) => [...all, source],
      [],
    )
    .option("--dry-run", "say what would be repaired")
    .option("--plain-http", "talk to the registry without encryption")
    .option("--json", "print the result as JSON")
    .action(repair);
}

async function repair(ref: string, flags: RepairFlags): Promise<void> {
  const sources = flags.from.map((text) => parseReference(text));
  await using store = await ImageStore.open();
  const digest = store.claim(parseReference(ref));
  const siblings = sources.filter(({ registry }) => registry === undefined);
  const repositories: Repository[] = [];
  const progress = createProgress("verify");
  let report: RepairReport;
  try {
    for (const { registry, ...reference } of sources)
      if (registry !== undefined)
        repositories.push(await openRepository({ ...reference, registry }, "pull", flags));
    report = await repairImage(store, digest, {
      repositories,
      ...(siblings.length > 0 ? { siblings: siblings.map((sibling) => store.claim(sibling)) } : {}),
      dryRun: flags.dryRun === true,
      onProgress: progress.update,
      signal: interruptSignal(),
    });
  } finally {
    progress.stop();
    for (const repository of repositories) await repository[Symbol.asyncDispose]();
  }
  if (flags.json) printJson(report);
  else process.stdout.write(repairText(ref, report));
  if (report.findings.length > 0) process.exitCode = EXIT.different;
}

function repairText(ref: string, { dryRun, repaired, findings }: RepairReport): string {
  const lines = repaired.map(
    ({ blob, from }) => `${blob}: ${dryRun ? "would be repaired" : "repaired"} from ${from}`,
  );
  if (findings.length > 0)
    lines.push("cannot be repaired from what was asked:", ...findings.flatMap(findingLines));
  else if (repaired.length === 0) lines.push(`${ref} is whole`);
  else if (!dryRun) lines.push(`${ref} is whole again`);
  return `${lines.join("\n")}\n`;
}
