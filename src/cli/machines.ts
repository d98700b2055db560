import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { discard } from "../freezer/discard.ts";
import { listMachines } from "../freezer/list.ts";
import { thaw } from "../freezer/thaw.ts";
import { Virsh } from "../hypervisor/virsh.ts";
import { formatReference, parseReference } from "../image/reference.ts";
import { defaultHome, ImageStore } from "../store/image-store.ts";
import { formatBytes, parseSize } from "../units.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson, table } from "./output.ts";
import { createProgress } from "./progress.ts";
import { resolveTrusted, type TrustFlags, withUseOptions } from "./trust-options.ts";

interface ThawFlags {
  name?: string;
  connect: string;
  network: string[];
  pool?: string;
  userData?: string;
  networkConfig?: string;
  cpus?: string;
  memory?: string;
  json?: boolean;
}

/** `doppel thaw REF`: an image becomes a running machine. */
export function thawCommand(): Command {
  return withUseOptions(new Command("thaw"))
    .description(
      "start a machine from an image: an overlay on its base, a libvirt domain with the captured hardware",
    )
    .argument("<ref>", "the image")
    .option("--name <vm>", "the machine's name; by default the image's")
    .option("--connect <uri>", "libvirt's URI, such as qemu+ssh://root@host/system", Virsh.defaultUri())
    .option(
      "--pool <name>",
      "put the disks into a storage pool of that libvirt: the image once, the overlay on it",
    )
    .option("--network <net>", "libvirt's network; once for each card (default: default)", again, [])
    .option("--user-data <file>", "cloud-init user-data, given to the machine on a seed (NoCloud)")
    .option("--network-config <file>", "cloud-init network-config on that seed")
    .option("--cpus <n>", "processors instead of those captured")
    .option("--memory <size>", "memory instead of that captured, such as 2G")
    .option("--json", "print the result as JSON")
    .action(runThaw);
}

async function runThaw(ref: string, flags: ThawFlags & TrustFlags): Promise<void> {
  const reference = parseReference(ref);
  const seed = await readSeedFiles(flags);
  await using store = await ImageStore.open();
  const image = await resolveTrusted(store, reference, flags);
  const progress = createProgress("base");
  try {
    const result = await thaw(store, image, {
      image: formatReference(reference),
      name: flags.name ?? reference.name.replaceAll("/", "-"),
      connect: flags.connect,
      networks: flags.network.length > 0 ? flags.network : ["default"],
      ...(flags.pool === undefined ? {} : { pool: flags.pool }),
      ...seed,
      ...(flags.cpus === undefined ? {} : { cpus: parseCount(flags.cpus) }),
      ...(flags.memory === undefined ? {} : { memoryBytes: parseSize(flags.memory) }),
      onProgress: progress.update,
      signal: interruptSignal(),
    });
    progress.stop();
    const { instance, type, cpus, memoryBytes } = result;
    if (flags.json) printJson({ ...instance, type, cpus, memoryBytes });
    else {
      const how = type === "kvm" ? "KVM" : "TCG, without hardware help";
      process.stdout.write(
        `${instance.name} runs (${how}): ${cpus} processors, ${formatBytes(memoryBytes)} memory\n`,
      );
    }
  } finally {
    progress.stop();
  }
}

async function readSeedFiles({ userData, networkConfig }: ThawFlags) {
  if (networkConfig !== undefined && userData === undefined)
    throw new DoppelError("usage", "--network-config goes with --user-data", { exitCode: EXIT.usage });
  return {
    ...(userData === undefined ? {} : { userData: await readFile(userData) }),
    ...(networkConfig === undefined ? {} : { networkConfig: await readFile(networkConfig) }),
  };
}

function again(value: string, all: string[]): string[] {
  return [...all, value];
}

/** `doppel vms`: the machines made here. */
export function vmsCommand(): Command {
  return new Command("vms")
    .description("the machines that run from images")
    .option("--json", "print the result as JSON")
    .action(async (flags: { json?: boolean }) => {
      const machines = await listMachines(defaultHome());
      if (flags.json) return printJson(machines);
      const rows = machines.map((vm) => [
        vm.name,
        vm.image,
        vm.state,
        vm.addresses.join(", ") || "-",
        vm.created,
      ]);
      process.stdout.write(table([["NAME", "IMAGE", "STATE", "ADDRESS", "SINCE"], ...rows]));
    });
}

/** `doppel discard VM`: ends and removes a machine. */
export function discardCommand(): Command {
  return new Command("discard")
    .description("end a machine and remove it; its image stays")
    .argument("<vm>", "its name")
    .option("--json", "print the result as JSON")
    .action(async (name: string, flags: { json?: boolean }) => {
      await discard(defaultHome(), name);
      if (flags.json) printJson({ discarded: name });
      else process.stdout.write(`${name} is gone; its image stays\n`);
    });
}

function parseCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count > 0 && count <= 1024) return count;
  throw new DoppelError("usage", `'${text}' is not a number of processors`, { exitCode: EXIT.usage });
}
