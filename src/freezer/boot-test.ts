import { randomBytes } from "node:crypto";
import { freemem } from "node:os";
import { join } from "node:path";
import type { WriteProgress } from "../format/format.ts";
import type { DiskBus } from "../hypervisor/domain-xml.ts";
import { IsolatedNetwork } from "../hypervisor/isolated-network.ts";
import { Virsh } from "../hypervisor/virsh.ts";
import { parseFacts } from "../machine/facts.ts";
import { attach } from "../store/attachments.ts";
import type { Attachment } from "../store/catalog.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { isProcessAlive } from "../store/leases.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { BOOT_TEST_RESULT, BOOT_TEST_TYPE } from "./boot-evidence.ts";
import { furthest } from "./boot-stages.ts";
import { type BootObservation, type PassedStage, watchBoot } from "./boot-watch.ts";
import { discard } from "./discard.ts";
import { listInstances } from "./instance.ts";
import { thaw } from "./thaw.ts";

export interface BootTestOptions {
  /** The image as the user named it. */
  image: string;
  connect: string;
  timeoutMs: number;
  bus: DiskBus;
  firmware?: "bios" | "uefi";
  memoryBytes?: number;
  cpus?: number;
  /** Ports that are tried besides the usual ones. */
  ports: readonly number[];
  signal?: AbortSignal;
  onProgress?: (progress: WriteProgress) => void;
  onStage?: (stage: PassedStage) => void;
}

export interface BootTestReport {
  boots: boolean;
  bus: DiskBus;
  firmware: "bios" | "uefi";
  accelerator: "kvm" | "tcg";
  stages: PassedStage[];
  addresses: string[];
  openPorts: number[];
  /** Of an image that does not boot. */
  why: string | undefined;
  testedAt: string;
  elapsedSeconds: number;
  evidence: Attachment;
}

const MIB = 1024 * 1024;
const MOST_MEMORY_BYTES = 4096 * MIB;
const COMMON_PORTS = [22, 25, 80, 135, 443, 445, 3306, 3389, 5432, 5985, 8080, 8443];
const NAME = /^boot-test-(\d+)-[0-9a-f]{6}$/;

/**
 * Starts a throw-away machine from an image, on a network that leads nowhere, and watches how far it comes. The evidence
 * (report, console log, screenshot) is attached to the image.
 */
export async function bootTest(
  store: ImageStore,
  image: StoredImage,
  options: BootTestOptions,
): Promise<BootTestReport> {
  const virsh = new Virsh(options.connect);
  await removeLeftovers(store, virsh);
  const facts = parseFacts(image.config.doppel.facts, options.image);
  const firmware = options.firmware ?? facts.firmware.type;
  const name = `boot-test-${process.pid}-${randomBytes(3).toString("hex")}`;
  await using scratch = await temporaryFolder("boot-test");
  await using network = await IsolatedNetwork.start(virsh, name, scratch.path);
  const started = performance.now();
  const machine = await thaw(store, image, {
    ...options,
    name,
    networks: [network.name],
    firmware,
    memoryBytes: options.memoryBytes ?? chooseMemory(facts.hardware.memoryBytes),
  });
  await using _machine = { [Symbol.asyncDispose]: () => discard(store.home, name) };
  const observation = await watchBoot(virsh, {
    ...options,
    domain: name,
    consoleLog: join(machine.folder, "console.log"),
    folder: machine.folder,
    ports: [...new Set([...COMMON_PORTS, ...options.ports])],
    requiredPorts: options.ports,
  });
  const why = whyNot(observation, options);
  const report = {
    boots: why === undefined,
    bus: options.bus,
    firmware,
    accelerator: machine.type === "kvm" ? ("kvm" as const) : ("tcg" as const),
    stages: observation.stages,
    addresses: observation.addresses,
    openPorts: observation.openPorts,
    why,
    testedAt: new Date().toISOString(),
    elapsedSeconds: Math.round((performance.now() - started) / 100) / 10,
  };
  return { ...report, evidence: await keepEvidence(store, image, report, observation) };
}

/** The short text of `doppel images ls`: `yes, virtio-blk, BIOS, 2026-11-24`. */
export function bootResultText(
  report: Pick<BootTestReport, "boots" | "bus" | "firmware" | "testedAt">,
): string {
  const firmware = report.firmware === "uefi" ? "UEFI" : "BIOS";
  return `${report.boots ? "yes" : "no"}, ${report.bus}, ${firmware}, ${report.testedAt.slice(0, 10)}`;
}

function whyNot(
  { stages, deadEnd, openPorts }: BootObservation,
  { timeoutMs, ports }: BootTestOptions,
): string | undefined {
  const reached = furthest(stages.map(({ stage }) => stage));
  if (deadEnd !== undefined) return deadEnd;
  if (reached !== "network")
    return `${reached ?? "nothing"} was the last that was seen in ${Math.round(timeoutMs / 1000)} s`;
  const closed = ports.filter((port) => !openPorts.includes(port));
  return closed.length > 0 ? `it is up, but port ${closed.join(", ")} does not answer` : undefined;
}

async function keepEvidence(
  store: ImageStore,
  image: StoredImage,
  report: Omit<BootTestReport, "evidence">,
  { log, screenshot }: BootObservation,
): Promise<Attachment> {
  const files = [
    {
      title: "report.json",
      mediaType: "application/json",
      content: Buffer.from(JSON.stringify(report, undefined, 2)),
    },
    { title: "console.log", mediaType: "text/plain", content: log },
    ...(screenshot ? [{ title: "screen.png", mediaType: "image/png", content: screenshot }] : []),
  ];
  return await attach(store, image, {
    artifactType: BOOT_TEST_TYPE,
    created: report.testedAt,
    annotations: { [BOOT_TEST_RESULT]: bootResultText(report) },
    files,
  });
}

/** As much as was captured, but a test needs no more than 4 GiB, nor more than half of what is free. */
function chooseMemory(capturedBytes: number): number {
  const most = Math.min(MOST_MEMORY_BYTES, Math.max(512 * MIB, freemem() / 2));
  return Math.floor(Math.min(capturedBytes, most) / (64 * MIB)) * 64 * MIB;
}

/** Machines and networks of tests whose process was killed. */
async function removeLeftovers(store: ImageStore, virsh: Virsh): Promise<void> {
  const isDead = (name: string) => {
    const pid = Number(NAME.exec(name)?.[1]);
    return Number.isInteger(pid) && !isProcessAlive(pid);
  };
  for (const { name, connect } of await listInstances(store.home))
    if (isDead(name) && connect === virsh.uri) await discard(store.home, name);
  const { stdout } = await virsh.run(["net-list", "--name"]);
  for (const name of stdout.split("\n").map((line) => line.trim()))
    if (isDead(name)) await virsh.run(["net-destroy", name], { allowFailure: true });
}
