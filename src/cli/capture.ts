import { Command, Option } from "commander";
import { AgentSession } from "../agent/session.ts";
import { Bases } from "../capture/bases.ts";
import { type CaptureOptions, type CaptureResult, captureMachine, findEarlier } from "../capture/capture.ts";
import { CAPTURE_MODES, type CaptureMode, prepareCapture } from "../capture/prepare.ts";
import { DoppelError, EXIT } from "../errors.ts";
import { CLUSTER_BYTES } from "../image/cluster.ts";
import { formatReference, parseLocalReference, parseReference, type Reference } from "../image/reference.ts";
import { type ConnectOptions, openConnection } from "../ssh/connect.ts";
import type { SshConnection } from "../ssh/connection.ts";
import { ImageStore } from "../store/image-store.ts";
import { formatBytes, formatSeconds, parseDuration, parsePercent, parseSize } from "../units.ts";
import { describePlan } from "./capture-text.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { createProgress, type Progress } from "./progress.ts";

interface CaptureFlags {
  name: string;
  disk: string[];
  identity?: string;
  parent?: string;
  sshConfig?: string;
  level: string;
  mode: CaptureMode;
  freeze?: true;
  freezeBudget: string;
  onReadError: "stop" | "zero";
  limitRate?: string;
  limitCpu?: string;
  priority: "low" | "normal";
  dryRun?: boolean;
  json?: boolean;
}

/** `doppel capture TARGET --name REF`. */
export function captureCommand(): Command {
  return new Command("capture")
    .description("capture a running machine's disks over SSH into an image")
    .argument("<target>", "[user@]host[:port], or a Host of your ssh config")
    .requiredOption("--name <ref>", "the image's name")
    .option(
      "--disk <dev>",
      "a disk to capture; can be given again",
      (dev: string, all: string[]) => [...all, dev],
      [],
    )
    .option("--identity <file>", "the private key to log in with")
    .option("--parent <ref>", "an image of the same machine: only what differs from it is sent and stored")
    .option("--ssh-config <file>", "this file instead of ~/.ssh/config")
    .option("--level <n>", "zstd level, 1 to 19", "3")
    .addOption(
      new Option("--mode <mode>", "offline: only if nothing can be written; fuzzy: never freeze anything")
        .choices(CAPTURE_MODES)
        .default("auto"),
    )
    .option(
      "--freeze",
      "keep the file systems frozen for the whole copy: they cannot be written until it is over",
    )
    .option("--freeze-budget <time>", "with --freeze, thaw after so long whatever happens", "10m")
    .addOption(
      new Option("--on-read-error <what>", "stop, or go on with zeros in place of what cannot be read")
        .choices(["stop", "zero"])
        .default("stop"),
    )
    .option("--limit-rate <size>", "send at most so many bytes a second, such as 50M")
    .option("--limit-cpu <percent>", "use at most this share of the machine's processors, such as 50%")
    .addOption(
      new Option("--priority <class>", "of the agent on the machine")
        .choices(["low", "normal"])
        .default("low"),
    )
    .option("--dry-run", "say what would be captured how, and stop")
    .option("--json", "print the result as JSON")
    .action(run);
}

async function run(target: string, flags: CaptureFlags): Promise<void> {
  const reference = parseLocalReference(flags.name);
  const options = readOptions(flags);
  await using connection = await openConnection(target, connectOptions(flags));
  await using store = await ImageStore.open();
  if (flags.dryRun) return await rehearse(connection, store, reference, options, flags.json === true);
  const progress = createProgress("capture");
  try {
    const result = await captureMachine(connection, store, reference, options, {
      prepared: (...plan) => progress.log(describePlan(...plan).trimEnd()),
      progress: ({ sentBytes, elapsedMs, ...done }) => {
        const rate = formatBytes(sentBytes / Math.max(elapsedMs / 1000, 0.001));
        progress.update({ ...done, note: `sent ${formatBytes(sentBytes)} at ${rate}/s` });
      },
      warning: (message) => warn(progress, message),
      kept: (bytes) => progress.log(`kept ${formatBytes(bytes)}: the same command goes on from there`),
    });
    progress.stop();
    if (flags.json) printJson(resultAsJson(formatReference(reference), result));
    else process.stdout.write(describeResult(formatReference(reference), result));
  } finally {
    progress.stop();
  }
}

/** Says what would be captured how, and compared with what. */
async function rehearse(
  connection: SshConnection,
  store: ImageStore,
  reference: Reference,
  options: CaptureOptions,
  json: boolean,
): Promise<void> {
  const earlier = await findEarlier(store, reference, options);
  await using session = await AgentSession.open(connection, { signal: interruptSignal() });
  const prepared = await prepareCapture(session, options);
  const warn = (message: string) => void process.stderr.write(`warning: ${message}\n`);
  await using bases = await Bases.open(store, prepared, earlier, warn);
  if (json) printJson({ dryRun: true, ...prepared, comparisons: bases.comparisons });
  else process.stdout.write(describePlan(prepared, bases.comparisons));
}

function readOptions(flags: CaptureFlags): CaptureOptions {
  const level = Number(flags.level);
  if (!Number.isInteger(level) || level < 1 || level > 19) {
    throw new DoppelError("usage", `'${flags.level}' is not a level from 1 to 19`, { exitCode: EXIT.usage });
  }
  if (flags.freeze && flags.mode === "fuzzy") {
    throw new DoppelError("usage", "--mode fuzzy freezes nothing: leave out --freeze", {
      exitCode: EXIT.usage,
    });
  }
  const budgetMs = parseDuration(flags.freezeBudget);
  return {
    disks: flags.disk,
    ...(flags.parent === undefined ? {} : { parent: parseReference(flags.parent) }),
    mode: flags.mode,
    level,
    onReadError: flags.onReadError,
    limitRateBytesPerSecond: flags.limitRate === undefined ? 0 : parseSize(flags.limitRate),
    limitCpuPercent: flags.limitCpu === undefined ? 0 : parsePercent(flags.limitCpu),
    priority: flags.priority,
    freezeMs: flags.freeze ? budgetMs : 0,
    signal: interruptSignal(),
  };
}

function connectOptions(flags: CaptureFlags): ConnectOptions {
  return {
    identities: flags.identity === undefined ? [] : [flags.identity],
    ...(flags.sshConfig === undefined ? {} : { files: { configFile: flags.sshConfig } }),
    signal: interruptSignal(),
  };
}

function warn(progress: Progress, message: string): void {
  progress.log(`warning: ${message}`);
}

function describeResult(name: string, { image, record, storedBytes }: CaptureResult): string {
  const { end } = record;
  const same =
    end.sameClusters > 0 ? `${formatBytes(end.sameClusters * CLUSTER_BYTES)} were here already, ` : "";
  const seconds = Math.max(end.elapsedMilliseconds / 1000, 0.001);
  return (
    `${name}: ${image.digest}\n` +
    `read ${formatBytes(end.readBytes)}, ${same}sent ${formatBytes(end.sentBytes)}, stored ${formatBytes(storedBytes)} ` +
    `in ${formatSeconds(seconds)} (${formatBytes(end.readBytes / seconds)}/s read, ${formatBytes(end.sentBytes / seconds)}/s sent), ` +
    `grade ${record.grade}${record.end.readErrors > 0 ? `, ${record.end.readErrors} read errors` : ""}\n`
  );
}

function resultAsJson(name: string, { image, record, storedBytes }: CaptureResult) {
  const { disks } = image.config.doppel;
  return {
    ...record.end,
    name,
    digest: image.digest,
    grade: record.grade,
    disks: disks.map(({ regions: _, ...disk }) => disk),
    parent: image.config.doppel.lineage.parent,
    sameBytes: record.end.sameClusters * CLUSTER_BYTES,
    storedBytes,
    frozenMilliseconds: record.frozenMilliseconds,
    warnings: record.warnings,
  };
}
