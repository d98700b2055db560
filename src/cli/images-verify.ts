import { randomInt } from "node:crypto";
import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { parseReference, type Reference } from "../image/reference.ts";
import { verifyRemote } from "../registry/verify.ts";
import { ImageStore } from "../store/image-store.ts";
import type { Sample } from "../store/sample.ts";
import type { Finding, VerifyOptions, VerifyReport } from "../store/verification.ts";
import { recordVerifications } from "../store/verifications.ts";
import { verifyImage, verifyStore } from "../store/verify.ts";
import { formatBytes, formatSeconds } from "../units.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { createProgress } from "./progress.ts";
import { openRepository } from "./transfer.ts";

interface VerifyFlags {
  all?: boolean;
  sample?: string;
  seed?: string;
  plainHttp?: boolean;
  json?: boolean;
}

/** `doppel images verify [REF | REMOTE]`: is every byte what it was? */
export function verifyCommand(): Command {
  return new Command("verify")
    .argument("[ref]", "an image here, or registry.host[:port]/name[:tag][@digest] of one in a registry")
    .description("read every blob and frame and compare every hash; exit 4 when something differs")
    .option("--all", "every image here; what several share is read once")
    .option("--sample <share>", "only a share of the frames, such as 5%, chosen at random")
    .option("--seed <n>", "with --sample: choose the frames that this number chose before")
    .option("--plain-http", "talk to the registry without encryption")
    .option("--json", "print the result as JSON")
    .action(verify);
}

async function verify(ref: string | undefined, flags: VerifyFlags): Promise<void> {
  if ((ref === undefined) === (flags.all !== true)) {
    throw new DoppelError("usage", "verify takes one image, or --all", { exitCode: EXIT.usage });
  }
  const sample = parseSample(flags);
  const progress = createProgress("verify");
  const started = performance.now();
  let report: VerifyReport & { digest?: string };
  try {
    const options = { sample, onProgress: progress.update, signal: interruptSignal() };
    report = await verifyWhat(ref === undefined ? undefined : parseReference(ref), flags, options);
  } finally {
    progress.stop();
  }
  const elapsed = formatSeconds((performance.now() - started) / 1000);
  if (flags.json) printJson(report);
  else process.stdout.write(verifyText(ref ?? "the store", report, elapsed));
  if (report.findingCount > 0) process.exitCode = EXIT.different;
}

async function verifyWhat(
  reference: Reference | undefined,
  flags: VerifyFlags,
  options: VerifyOptions,
): Promise<VerifyReport & { digest?: string }> {
  if (reference?.registry !== undefined) {
    const { registry, digest, tag } = reference;
    await using repository = await openRepository({ ...reference, registry }, "pull", flags);
    return await verifyRemote(repository, digest ?? tag, options);
  }
  await using store = await ImageStore.open();
  if (!reference) {
    const report = await verifyStore(store, options);
    recordVerifications(store.catalog, store.catalog.digests(), report);
    return report;
  }
  const digest = store.claim(reference);
  const report = await verifyImage(store, { digest }, options);
  recordVerifications(store.catalog, [digest], report);
  return { digest, ...report };
}

function parseSample({ sample, seed }: VerifyFlags): Sample | undefined {
  if (sample === undefined && seed === undefined) return undefined;
  const percent = Number(/^(\d+(?:\.\d+)?)%$/.exec(sample ?? "")?.[1] ?? Number.NaN);
  const number = seed === undefined ? randomInt(2 ** 32) : Number(seed);
  if (percent > 0 && percent <= 100 && Number.isSafeInteger(number) && number >= 0)
    return { share: percent / 100, seed: number };
  throw new DoppelError("usage", `--sample ${sample ?? ""} --seed ${seed ?? ""} is no share of the frames`, {
    hint: "write it like --sample 5%, and the seed as a whole number",
    exitCode: EXIT.usage,
  });
}

function verifyText(what: string, report: VerifyReport, elapsed: string): string {
  const looked = `${report.blobs} blobs, ${report.frames} frames, ${formatBytes(report.bytes)} in ${elapsed}`;
  const covered = report.sample ? [sampleText(report.frames, report.sample)] : [];
  if (report.findingCount === 0) {
    const whole = report.sample ? "shows no difference" : "is whole";
    return `${[`${what} ${whole}: ${looked}`, ...covered].join("\n")}\n`;
  }
  const lines = [`${what} differs in ${report.findingCount} places (${looked}):`, ...covered];
  return `${[...lines, ...report.findings.flatMap(findingLines)].join("\n")}\n`;
}

function sampleText(frames: number, { frameCount, share, seed }: Sample & { frameCount: number }): string {
  const asked = `${Number((share * 100).toFixed(3))} % of the frames, seed ${seed}`;
  return `a sample: ${frames} of ${frameCount} frames (${asked}); packs were not compared with their digests`;
}

/** What is wrong with a blob, and whom and what it hurts. */
export function findingLines({ blob, message, images, hurts }: Finding): string[] {
  const lines = [`  ${blob}: ${message}`];
  for (const { digest, names } of images) {
    const hurt = hurts.filter(({ image }) => image === digest);
    lines.push(`    in ${names.join(", ") || digest}${hurt.length > 0 ? "" : ", where no cluster uses it"}`);
    for (const { disk, cluster, count, offsetBytes } of hurt) {
      const which = count === 1 ? `cluster ${cluster}` : `clusters ${cluster} to ${cluster + count - 1}`;
      lines.push(`      hurts disk ${disk}, ${which} (byte ${offsetBytes})`);
    }
  }
  return lines;
}
