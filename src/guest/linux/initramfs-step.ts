import { DoppelError, EXIT } from "../../errors.ts";
import { formatBytes } from "../../units.ts";
import { appendToFile, originalOf } from "../changes.ts";
import type { GuestContext, Step } from "../step.ts";
import { uuidsByDevice } from "./device-text.ts";
import { planGeneratorConfiguration, planRebuild } from "./generator.ts";
import { Initramfs } from "./initramfs.ts";
import { driverPatch, type Generator } from "./initramfs-drivers.ts";
import { rewrittenMembers } from "./initramfs-settings.ts";
import { findKernels, type InstalledKernel } from "./kernels.ts";
import { missingLinkFiles } from "./network-names.ts";

/**
 * Drivers into every initramfs, by appending an archive; no program of the guest runs. And into the configuration of its
 * generator, so that the guest's next rebuild has them too.
 */
export async function planInitramfs(context: GuestContext): Promise<Step[]> {
  const kernels = await findKernels(context.guestfish);
  const able = kernels.filter((kernel) => canDrive(kernel, context));
  if (able.length === 0) throw unable(kernels, context);
  await refuseUnifiedImages(able, context);
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
    steps.push(...(await planGeneratorConfiguration(context, generator, wanted)));
    if (context.wishes.rebuildInitramfs) steps.push(...planRebuild(context, generator));
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

/** A unified kernel image holds its initramfs, and often a signature over both: nothing can be appended. */
async function refuseUnifiedImages(able: readonly InstalledKernel[], context: GuestContext): Promise<void> {
  const { guestfish, target } = context;
  if (able.some(({ initramfsPaths }) => initramfsPaths.length > 0)) return;
  // A kernel that needs no module needs no initramfs either.
  if (
    able.some(({ index }) => target.diskModules.every((group) => group.some((name) => index.isBuiltIn(name))))
  )
    return;
  const images = await guestfish.expand([
    "/boot/efi/EFI/Linux/*.efi",
    "/efi/EFI/Linux/*.efi",
    "/boot/EFI/Linux/*.efi",
  ]);
  const what =
    images.length > 0
      ? `the guest starts from unified kernel images, whose initramfs cannot be added to: ${images.join(", ")}`
      : `no initramfs was found for ${able.map(({ version }) => version).join(", ")}, and their disk drivers are modules`;
  throw new DoppelError("conversion-refused", what, {
    hint: `add ${wantedModules(context, able).join(", ")} to the configuration of its generator on the machine, rebuild there, and capture it again`,
    exitCode: EXIT.refused,
  });
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
  const { guestfish, target, facts } = context;
  const bytes = await guestfish.read(await originalOf(guestfish, path));
  if (!bytes) throw new DoppelError("guestfs-failed", `${path} cannot be read`);
  const initramfs = await Initramfs.read(bytes);
  const patch = await driverPatch(initramfs, kernel, wantedModules(context, [kernel]));
  const settings = [
    ...rewrittenMembers(initramfs, uuidsByDevice(facts)),
    ...missingLinkFiles(initramfs, facts),
  ];
  if (patch.added.length === 0 && settings.length === 0)
    return { step: undefined, generator: patch.generator };
  const addition = initramfs.addition([...patch.members, ...settings]);
  const added = [...patch.added, ...settings.map((member) => `/${member.path}`)].join(", ");
  return {
    generator: patch.generator,
    step: {
      name: "initramfs",
      what: `${path}: ${added} appended (${formatBytes(addition.length)}, ${patch.generator})`,
      why: `it must find its disks on ${target.name} before the root file system is mounted`,
      adds: [{ path, bytes: bytes.length + addition.length }],
      apply: async () => [await appendToFile(guestfish, path, addition)],
    },
  };
}
