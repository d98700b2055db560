import { Command, Option } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { type BootTestReport, bootResultText, bootTest } from "../freezer/boot-test.ts";
import type { PassedStage } from "../freezer/boot-watch.ts";
import { DISK_BUSES, type DiskBus } from "../hypervisor/domain-xml.ts";
import { Virsh } from "../hypervisor/virsh.ts";
import { formatReference, parseReference } from "../image/reference.ts";
import { ImageStore } from "../store/image-store.ts";
import { parseDuration, parseSize } from "../units.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { createProgress } from "./progress.ts";
import { resolveTrusted, type TrustFlags, withUseOptions } from "./trust-options.ts";

interface BootTestFlags {
  timeout: string;
  firmware?: "bios" | "uefi";
  bus: DiskBus;
  port: number[];
  memory?: string;
  connect: string;
  json?: boolean;
}

/** `doppel boot-test REF`: shows that an image boots, and keeps the evidence with it. */
export function bootTestCommand(): Command {
  return withUseOptions(new Command("boot-test"))
    .description(
      "start a throw-away machine from an image, on a network that leads nowhere, and keep the evidence",
    )
    .argument("<ref>", "the image")
    .option("--timeout <time>", "how long it may take, such as 180 or 5m", "180s")
    .addOption(new Option("--firmware <type>", "by default the captured one").choices(["bios", "uefi"]))
    .addOption(
      new Option("--bus <bus>", "how its disks are attached").choices([...DISK_BUSES]).default("virtio-blk"),
    )
    .option("--port <n>", "a TCP port that must answer, may be given again", collectPort, [])
    .option("--memory <size>", "memory instead of that captured, such as 2G")
    .option("--connect <uri>", "libvirt's URI", Virsh.defaultUri())
    .option("--json", "print the result as JSON")
    .action(run);
}

async function run(ref: string, flags: BootTestFlags & TrustFlags): Promise<void> {
  const reference = parseReference(ref);
  const timeoutMs = /^\d+$/.test(flags.timeout) ? Number(flags.timeout) * 1000 : parseDuration(flags.timeout);
  await using store = await ImageStore.open();
  const image = await resolveTrusted(store, reference, flags);
  const progress = createProgress("base");
  let report: BootTestReport;
  try {
    report = await bootTest(store, image, {
      image: formatReference(reference),
      connect: flags.connect,
      timeoutMs,
      bus: flags.bus,
      ports: flags.port,
      ...(flags.firmware === undefined ? {} : { firmware: flags.firmware }),
      ...(flags.memory === undefined ? {} : { memoryBytes: parseSize(flags.memory) }),
      signal: interruptSignal(),
      onProgress: progress.update,
      onStage: (stage) => {
        progress.stop();
        process.stderr.write(stageLine(stage));
      },
    });
  } finally {
    progress.stop();
  }
  if (flags.json) printJson(report);
  else process.stdout.write(reportText(report));
  if (!report.boots) process.exitCode = EXIT.failed;
}

function reportText(report: BootTestReport): string {
  const ports = report.openPorts.length > 0 ? `, ports ${report.openPorts.join(", ")} open` : "";
  const lines = report.why === undefined ? [] : [`why: ${report.why}`];
  return [
    `boots: ${bootResultText(report)} (${report.elapsedSeconds} s on ${report.accelerator.toUpperCase()}${ports})`,
    ...lines,
    `evidence: ${report.evidence.digest}\n`,
  ].join("\n");
}

function stageLine({ stage, seconds, what }: PassedStage): string {
  return `boot-test: ${String(seconds ?? "").padStart(5)} s  ${stage.padEnd(12)} ${what}\n`;
}

function collectPort(text: string, ports: number[]): number[] {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new DoppelError("usage", `'${text}' is not a TCP port`, { exitCode: EXIT.usage });
  return [...ports, port];
}
