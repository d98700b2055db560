import { randomUUID } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateFolder } from "../durable-file.ts";
import { DoppelError, EXIT, systemErrorCode } from "../errors.ts";
import type { WriteProgress } from "../format/format.ts";
import { probeKvm } from "../hypervisor/capabilities.ts";
import { type DiskBus, type DomainDescription, domainXml } from "../hypervisor/domain-xml.ts";
import { findOvmf } from "../hypervisor/firmware.ts";
import { Virsh } from "../hypervisor/virsh.ts";
import { type MachineFacts, parseFacts } from "../machine/facts.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { materialiseBase } from "./base.ts";
import { type ChosenMachine, checkHost } from "./host-check.ts";
import {
  checkInstanceName,
  hasInstance,
  type Instance,
  instanceFolder,
  removeInstance,
  writeInstance,
} from "./instance.ts";
import { Pool } from "./pool.ts";
import { makeSeed, type Seed } from "./seed.ts";
import { folderStorage, poolStorage } from "./storage.ts";

export interface ThawOptions {
  /** The image as the user named it. */
  image: string;
  name: string;
  connect: string;
  /** libvirt's networks, one for each card; cards beyond them are on the last. */
  networks: readonly string[];
  /** A storage pool for the disks instead of the machine's own folder: needed when libvirt is on another host. */
  pool?: string;
  /** cloud-init user-data for a seed (NoCloud). */
  userData?: Buffer;
  /** cloud-init network-config; only with `userData`. */
  networkConfig?: Buffer;
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
  await using _name = store.reserve("machine", options.name);
  const virsh = new Virsh(options.connect);
  const machine = chooseMachine(facts, options);
  await checkHost(store, virsh, options, machine);
  const pool = options.pool === undefined ? undefined : await Pool.open(virsh, options.pool);
  const bases = await materialiseBase(store, image, options);
  const folder = await claimFolder(store.home, options.name);
  const uuid = randomUUID();
  const storage = pool
    ? poolStorage(pool, { ...options, image, bases, seeded: options.userData !== undefined })
    : folderStorage(folder, bases);
  try {
    const seed = await seedFor(options, folder);
    const instance = instanceOf(image, options, machine, uuid, {
      ...(pool ? { pool: { name: pool.name, volumes: [...storage.volumes] } } : {}),
      ...(seed ? { hostKey: seed.hostKey } : {}),
    });
    // Before anything is made elsewhere: whatever ends this process, `discard` finds what there is.
    await writeInstance(store.home, instance);
    const overlays = await storage.makeOverlays();
    const type = await machineType(virsh);
    const description = await describe(virsh, image, facts, {
      ...machine,
      ...options,
      uuid,
      type,
      folder,
      overlays,
      pooled: pool !== undefined,
      ...(seed ? { seed: await storage.takeSeed(seed.path) } : {}),
    });
    const xml = join(folder, "domain.xml");
    await writeFile(xml, domainXml(description), { mode: 0o600 });
    await virsh.run(["define", xml, "--validate"]);
    await virsh.run(["start", options.name]);
    return { instance, type, folder, ...machine };
  } catch (error) {
    await virsh.run(["undefine", uuid, "--nvram"], { allowFailure: true }).catch(() => {});
    await storage.remove().catch(() => {});
    await removeInstance(store.home, options.name);
    throw error;
  }
}

async function seedFor(options: ThawOptions, folder: string): Promise<Seed | undefined> {
  const { name, userData, networkConfig } = options;
  if (!userData) return undefined;
  return await makeSeed(folder, { hostname: name, userData, ...(networkConfig ? { networkConfig } : {}) });
}

/** KVM of this machine is tried; of another one its libvirt is believed. */
async function machineType(virsh: Virsh): Promise<"kvm" | "qemu"> {
  if (virsh.isLocal) return (await probeKvm()).works ? "kvm" : "qemu";
  const { exitCode } = await virsh.run(["domcapabilities", "--virttype", "kvm"], { allowFailure: true });
  return exitCode === 0 ? "kvm" : "qemu";
}

/** The captured hardware, where the options do not say otherwise. */
function chooseMachine(facts: MachineFacts, options: ThawOptions): ChosenMachine {
  const captured = Math.ceil(facts.hardware.memoryBytes / MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES;
  const physical = facts.nics.filter((nic) => nic.kind === "physical");
  const macs = physical.map((nic) => nic.permanentMac ?? nic.mac).filter((mac) => mac != null);
  return { cpus: options.cpus ?? facts.hardware.cpus, memoryBytes: options.memoryBytes ?? captured, macs };
}

/** The folder of a machine whose name is claimed. */
async function claimFolder(home: string, name: string): Promise<string> {
  const folder = instanceFolder(home, name);
  await makePrivateFolder(join(home, "instances"));
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw error;
    if (hasInstance(folder))
      throw refused(
        "instance-exists",
        `there is a machine ${name} already`,
        `doppel discard ${name}, or choose another --name`,
      );
    // Whoever made it was killed before anything was made elsewhere.
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { mode: 0o700 });
  }
  return folder;
}

interface Placement extends ThawOptions, ChosenMachine {
  cpus: number;
  memoryBytes: number;
  uuid: string;
  type: "kvm" | "qemu";
  folder: string;
  overlays: string[];
  seed?: string;
  /** Its files are libvirt's, on a host that may be another one. */
  pooled: boolean;
}

async function describe(
  virsh: Virsh,
  image: StoredImage,
  facts: MachineFacts,
  placement: Placement,
): Promise<DomainDescription> {
  const { folder, type, pooled } = placement;
  return {
    name: placement.name,
    uuid: placement.uuid,
    imageDigest: image.digest,
    type,
    machine: await virsh.expandMachine("q35", type),
    arch: "x86_64",
    cpus: placement.cpus,
    memoryBytes: placement.memoryBytes,
    clock: facts.os.licenceFamily === "windows" ? "localtime" : "utc",
    firmware: firmwareOf(placement.firmware ?? facts.firmware.type, folder, pooled),
    disks: placement.overlays.map((path) => ({ path })),
    diskBus: placement.bus ?? "virtio-blk",
    ...(placement.seed === undefined ? {} : { seed: placement.seed }),
    nics: nicsOf(placement),
    ...(pooled
      ? {}
      : {
          consoleLog: join(folder, "console.log"),
          owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
        }),
  };
}

function firmwareOf(type: "bios" | "uefi", folder: string, pooled: boolean): DomainDescription["firmware"] {
  if (type === "bios") return { type };
  return pooled ? { type: "uefi-chosen" } : { type, ...findOvmf(), vars: join(folder, "nvram.fd") };
}

/** One card for each captured one and for each network, whichever are more. */
function nicsOf({ macs, networks }: Placement): DomainDescription["nics"] {
  return Array.from({ length: Math.max(macs.length, networks.length) }, (_, index) => {
    const mac = macs[index];
    const network = networks[index] ?? networks.at(-1) ?? "default";
    return { network, ...(mac === undefined ? {} : { mac }) };
  });
}

function instanceOf(
  image: StoredImage,
  options: ThawOptions,
  { macs }: ChosenMachine,
  uuid: string,
  more: Pick<Instance, "pool" | "hostKey">,
): Instance {
  return {
    ...more,
    version: 1,
    name: options.name,
    uuid,
    image: options.image,
    imageDigest: image.digest,
    connect: options.connect,
    network: options.networks[0] ?? "default",
    ...(options.networks.length > 1 ? { networks: [...options.networks] } : {}),
    macs,
    created: new Date().toISOString(),
  };
}

function refused(code: string, message: string, hint: string): DoppelError {
  return new DoppelError(code, message, { hint, exitCode: EXIT.refused });
}
