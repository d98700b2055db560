import { randomUUID } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { freemem } from "node:os";
import { join } from "node:path";
import { makePrivateFolder } from "../durable-file.ts";
import { DoppelError, EXIT, systemErrorCode } from "../errors.ts";
import type { WriteProgress } from "../format/format.ts";
import { probeKvm } from "../hypervisor/capabilities.ts";
import { type DiskBus, type DomainDescription, domainXml } from "../hypervisor/domain-xml.ts";
import { findOvmf } from "../hypervisor/firmware.ts";
import { Virsh } from "../hypervisor/virsh.ts";
import { type MachineFacts, parseFacts } from "../machine/facts.ts";
import { runProgram } from "../run-program.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { formatBytes } from "../units.ts";
import { materialiseBase } from "./base.ts";
import {
  checkInstanceName,
  type Instance,
  instanceFolder,
  listInstances,
  writeInstance,
} from "./instance.ts";

export interface ThawOptions {
  /** The image as the user named it. */
  image: string;
  name: string;
  connect: string;
  network: string;
  cpus?: number;
  memoryBytes?: number;
  /** virtio-blk by default. */
  bus?: DiskBus;
  /** The captured one by default. */
  firmware?: "bios" | "uefi";
  onProgress?: (progress: WriteProgress) => void;
  signal?: AbortSignal;
}

export interface ThawResult {
  instance: Instance;
  type: "kvm" | "qemu";
  cpus: number;
  memoryBytes: number;
  folder: string;
}

const MEMORY_STEP_BYTES = 64 * 1024 * 1024;

/**
 * Makes a running machine of an image: overlays on its cached base, a persistent libvirt domain with the captured
 * processors, memory, firmware and MAC addresses. What was made is removed again when a step fails.
 */
export async function thaw(store: ImageStore, image: StoredImage, options: ThawOptions): Promise<ThawResult> {
  checkInstanceName(options.name);
  const facts = parseFacts(image.config.doppel.facts, options.image);
  const virsh = new Virsh(options.connect);
  const machine = chooseMachine(facts, options);
  await checkHost(store, virsh, options, machine);
  const bases = await materialiseBase(store, image, options);
  const folder = await claimFolder(store.home, options.name);
  try {
    const overlays = await makeOverlays(folder, bases);
    const type = (await probeKvm()).works ? "kvm" : "qemu";
    const description = await describe(virsh, image, facts, {
      ...machine,
      ...options,
      type,
      folder,
      overlays,
    });
    const xml = join(folder, "domain.xml");
    await writeFile(xml, domainXml(description), { mode: 0o600 });
    const instance = instanceOf(image, options, description);
    await writeInstance(store.home, instance);
    await virsh.run(["define", xml, "--validate"]);
    await virsh.run(["start", options.name]);
    return { instance, type, folder, ...machine };
  } catch (error) {
    await virsh.run(["undefine", options.name, "--nvram"], { allowFailure: true }).catch(() => {});
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

interface ChosenMachine {
  cpus: number;
  memoryBytes: number;
  macs: string[];
}

/** The captured hardware, where the options do not say otherwise. */
function chooseMachine(facts: MachineFacts, options: ThawOptions): ChosenMachine {
  const captured = Math.ceil(facts.hardware.memoryBytes / MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES;
  const physical = facts.nics.filter((nic) => nic.kind === "physical");
  const macs = physical.map((nic) => nic.permanentMac ?? nic.mac).filter((mac) => mac != null);
  return { cpus: options.cpus ?? facts.hardware.cpus, memoryBytes: options.memoryBytes ?? captured, macs };
}

async function checkHost(
  store: ImageStore,
  virsh: Virsh,
  options: ThawOptions,
  machine: ChosenMachine,
): Promise<void> {
  if ((await virsh.state(options.name)) !== "missing") {
    throw refused(
      "domain-exists",
      `libvirt has a machine ${options.name} already`,
      "choose another one with --name",
    );
  }
  if (machine.memoryBytes > freemem()) {
    const message = `${options.name} wants ${formatBytes(machine.memoryBytes)} of memory, ${formatBytes(freemem())} are free`;
    throw refused("memory-short", message, "give it less with --memory 2G");
  }
  if (!(await virsh.isNetworkActive(options.network))) {
    const message = `libvirt's network ${options.network} is not there or not started`;
    throw refused("network-inactive", message, `virsh -c ${options.connect} net-start ${options.network}`);
  }
  for (const other of await listInstances(store.home)) {
    const mac = other.macs.find((candidate) => machine.macs.includes(candidate));
    const clashes =
      mac !== undefined && other.network === options.network && other.connect === options.connect;
    if (!clashes || (await virsh.state(other.name)) !== "running") continue;
    const message = `${other.name} runs on network ${other.network} with the same address ${mac}`;
    throw refused("mac-in-use", message, `doppel discard ${other.name}, or choose another --network`);
  }
}

async function claimFolder(home: string, name: string): Promise<string> {
  const folder = instanceFolder(home, name);
  await makePrivateFolder(join(home, "instances"));
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw error;
    throw refused(
      "instance-exists",
      `there is a machine ${name} already`,
      `doppel discard ${name}, or choose another --name`,
    );
  }
  return folder;
}

async function makeOverlays(folder: string, bases: readonly string[]): Promise<string[]> {
  const overlays: string[] = [];
  for (const [index, base] of bases.entries()) {
    const overlay = join(folder, `disk${index}.qcow2`);
    await runProgram("qemu-img", ["create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay]);
    overlays.push(overlay);
  }
  return overlays;
}

interface Placement extends ThawOptions, ChosenMachine {
  cpus: number;
  memoryBytes: number;
  type: "kvm" | "qemu";
  folder: string;
  overlays: string[];
}

async function describe(
  virsh: Virsh,
  image: StoredImage,
  facts: MachineFacts,
  placement: Placement,
): Promise<DomainDescription> {
  const { folder, type } = placement;
  const firmware: DomainDescription["firmware"] =
    (placement.firmware ?? facts.firmware.type) === "uefi"
      ? { type: "uefi", ...findOvmf(), vars: join(folder, "nvram.fd") }
      : { type: "bios" };
  return {
    name: placement.name,
    uuid: randomUUID(),
    imageDigest: image.digest,
    type,
    machine: await virsh.expandMachine("q35", type),
    arch: "x86_64",
    cpus: placement.cpus,
    memoryBytes: placement.memoryBytes,
    firmware,
    disks: placement.overlays.map((path) => ({ path })),
    diskBus: placement.bus ?? "virtio-blk",
    nics: (placement.macs.length > 0 ? placement.macs : [undefined]).map((mac) => ({
      network: placement.network,
      ...(mac === undefined ? {} : { mac }),
    })),
    consoleLog: join(folder, "console.log"),
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
  };
}

function instanceOf(image: StoredImage, options: ThawOptions, domain: DomainDescription): Instance {
  return {
    version: 1,
    name: options.name,
    uuid: domain.uuid,
    image: options.image,
    imageDigest: image.digest,
    connect: options.connect,
    network: options.network,
    macs: domain.nics.flatMap((nic) => (nic.mac === undefined ? [] : [nic.mac])),
    created: new Date().toISOString(),
  };
}

function refused(code: string, message: string, hint: string): DoppelError {
  return new DoppelError(code, message, { hint, exitCode: EXIT.refused });
}
