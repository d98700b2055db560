import { DoppelError, EXIT } from "../../errors.ts";
import { formatBytes } from "../../units.ts";
import { changeFile, originalOf } from "../changes.ts";
import type { GuestContext, Step } from "../step.ts";
import { type CpioMember, FILE_MODE } from "./cpio.ts";
import { Initramfs } from "./initramfs.ts";
import { driverPatch, type Generator } from "./initramfs-drivers.ts";
import { findKernels, type InstalledKernel } from "./kernels.ts";
import { linkFiles } from "./network-names.ts";

/**
 * Drivers into every initramfs, by appending an archive; no program of the guest runs. And into the configuration of its
 * generator, so that the guest's next rebuild has them too.
 */
export async function planInitramfs(context: GuestContext): Promise<Step[]> {
  const kernels = await findKernels(context.guestfish);
  const able = kernels.filter((kernel) => canDrive(kernel, context));
  if (able.length === 0) throw unable(kernels, context);
  const steps: Step[] = [];
  const generators = new Set<Generator>();
  for (const kernel of able) {
    for (const path of kernel.initramfsPaths) {
      const { step, generator } = await planOne(context, kernel, path);
      generators.add(generator);
      if (step) steps.push(step);
    }
  }
  const wanted = wantedModules(context, able);
  for (const generator of generators) {
    const kept = await keepStep(context, generator, wanted);
    if (kept) steps.push(kept);
  }
  return steps;
}

function canDrive(kernel: InstalledKernel, { target }: GuestContext): boolean {
  return target.diskModules.every((group) => group.some((name) => kernel.index.has(name)));
}

function unable(kernels: readonly InstalledKernel[], { target }: GuestContext): DoppelError {
  const versions = kernels.map(({ version }) => version).join(", ") || "none";
  return new DoppelError(
    "conversion-refused",
    `no kernel of the guest can drive ${target.name} disks (${versions})`,
    {
      hint: "install the guest's stock kernel on the machine and capture it again",
      exitCode: EXIT.refused,
    },
  );
}

function wantedModules({ target }: GuestContext, kernels: readonly InstalledKernel[]): string[] {
  const names = [...new Set([...target.diskModules.flat(), ...target.otherModules])];
  return names.filter((name) => kernels.some(({ index }) => index.get(name)));
}

async function planOne(
  context: GuestContext,
  kernel: InstalledKernel,
  path: string,
): Promise<{ step: Step | undefined; generator: Generator }> {
  const { guestfish, target } = context;
  const bytes = await guestfish.read(await originalOf(guestfish, path));
  if (!bytes) throw new DoppelError("guestfs-failed", `${path} cannot be read`);
  const initramfs = await Initramfs.read(bytes);
  const patch = await driverPatch(initramfs, kernel, wantedModules(context, [kernel]));
  const links: CpioMember[] = linkFiles(context.facts).map(({ path: at, content }) => ({
    path: at.slice(1),
    mode: FILE_MODE,
    content: Buffer.from(content),
  }));
  if (patch.added.length === 0) return { step: undefined, generator: patch.generator };
  const patched = initramfs.append([...patch.members, ...links]);
  return {
    generator: patch.generator,
    step: {
      name: "initramfs",
      what: `${path}: ${patch.added.join(", ")} appended (${formatBytes(patched.length - bytes.length)}, ${patch.generator})`,
      why: `it must find its disks on ${target.name} before the root file system is mounted`,
      apply: async () => [await changeFile(guestfish, path, patched)],
    },
  };
}

/** The generator's configuration, so that what it makes next has the drivers. */
async function keepStep(
  { guestfish, target }: GuestContext,
  generator: Generator,
  modules: readonly string[],
): Promise<Step | undefined> {
  const change = await configurationOf(guestfish, generator, modules);
  if (!change) return undefined;
  return {
    name: "initramfs-configuration",
    what: `${change.path} names the drivers`,
    why: `the next initramfs that ${generator} makes must have them, too, on ${target.name}`,
    apply: async () => [await changeFile(guestfish, change.path, change.content)],
  };
}

async function configurationOf(
  guestfish: GuestContext["guestfish"],
  generator: Generator,
  modules: readonly string[],
): Promise<{ path: string; content: string } | undefined> {
  const read = async (path: string) => (await guestfish.read(path))?.toString("utf8") ?? "";
  switch (generator) {
    case "initramfs-tools": {
      const path = "/etc/initramfs-tools/modules";
      const before = await read(path);
      const missing = modules.filter((name) => !new RegExp(`^\\s*${name}\\b`, "m").test(before));
      if (missing.length === 0) return undefined;
      return { path, content: `${withLineBreak(before)}${missing.join("\n")}\n` };
    }
    case "dracut":
      return {
        path: "/etc/dracut.conf.d/90-doppel.conf",
        content: `add_drivers+=" ${modules.join(" ")} "\n`,
      };
    case "mkinitcpio": {
      const path = "/etc/mkinitcpio.conf";
      const line = `MODULES+=(${modules.join(" ")})`;
      const before = await read(path);
      return before.includes(line) ? undefined : { path, content: `${withLineBreak(before)}${line}\n` };
    }
    case "mkinitfs": {
      const path = "/etc/mkinitfs/features.d/doppel.modules";
      return {
        path,
        content: `${modules.map((name) => `kernel/**/${name.replaceAll("_", "[-_]")}.ko*`).join("\n")}\n`,
      };
    }
    case "unknown":
      return undefined;
  }
}

function withLineBreak(text: string): string {
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}
