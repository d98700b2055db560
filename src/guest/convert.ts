import { join } from "node:path";
import { DoppelError, EXIT } from "../errors.ts";
import { probeKvm } from "../hypervisor/capabilities.ts";
import type { ConversionRecord } from "../image/config.ts";
import type { Reference } from "../image/reference.ts";
import { parseFacts } from "../machine/facts.ts";
import { ImageExports } from "../nbd/image-exports.ts";
import { NbdServer } from "../nbd/server.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { openEncryptedDevices } from "./encrypted-devices.ts";
import { checkFreeSpace } from "./free-space.ts";
import { chooseSystem, findSystems, type GuestSystem } from "./guest-system.ts";
import { Guestfish } from "./guestfish.ts";
import { planLinux } from "./linux/plan.ts";
import type { GuestContext, GuestPlan, Wishes } from "./step.ts";
import type { Target } from "./target.ts";
import { planWindows } from "./windows/plan.ts";

export interface ConvertOptions {
  target: Target;
  wishes: Wishes;
  /** Keys of encrypted devices. */
  keys: readonly string[];
  /** The root file system to work on, when the disks hold several systems. */
  root?: string;
  /** Make the plan and stop. */
  dryRun: boolean;
  signal?: AbortSignal;
  /** Hears what goes on. */
  onStage?: (what: string) => void;
}

export interface ConvertResult {
  system: GuestSystem;
  steps: { name: string; what: string; why: string }[];
  /** File systems of fstab that could not be mounted. */
  skippedMounts: string[];
  /** None of a dry run. */
  child?: { image: StoredImage; changedBytes: number };
}

/** Ways to convert, by libguestfs's type of the system. */
const PLANS: Record<string, (context: GuestContext) => Promise<GuestPlan>> = {
  linux: planLinux,
  windows: planWindows,
};

/**
 * Makes a child of an image that boots on other hardware. The image itself is not touched: the guest is edited through an
 * NBD export that keeps what is written. Everything is planned before anything is written; a refusal (exit 3) comes with
 * the plan.
 */
export async function convertImage(
  store: ImageStore,
  image: StoredImage,
  reference: Reference,
  options: ConvertOptions,
): Promise<ConvertResult> {
  const { target, signal, onStage } = options;
  const facts = parseFacts(image.config.doppel.facts, "the image");
  await using disks = await ImageExports.open(store, image, { writable: true });
  await using work = await temporaryFolder("convert");
  await using _server = await NbdServer.start({
    socketPath: join(work.path, "nbd"),
    exports: disks.exports,
  });
  onStage?.("starting the appliance");
  const guestDisks = disks.exports.map(({ name }) => ({
    socketPath: join(work.path, "nbd"),
    exportName: name,
    writable: true,
  }));
  const useTcg = !(await probeKvm()).works;
  const { keys, wishes } = options;
  const iso = wishes.virtioWin?.kind === "iso" ? { iso: wishes.virtioWin.path } : {};
  await using guestfish = await Guestfish.start(guestDisks, {
    useTcg,
    keys,
    ...iso,
    ...(signal ? { signal } : {}),
  });
  onStage?.("looking at the guest");
  if (keys.length > 0) await openEncryptedDevices(guestfish);
  const system = chooseSystem(await findSystems(guestfish, facts), options.root);
  const plan = PLANS[system.type];
  if (!plan) throw notConvertible(system);
  const context = { guestfish, system, target, facts, wishes, workFolder: work.path };
  const { steps, skippedMounts } = await plan(context);
  await checkFreeSpace(guestfish, steps);
  const result = { system, steps: steps.map(({ name, what, why }) => ({ name, what, why })), skippedMounts };
  if (options.dryRun) return result;
  const record: ConversionRecord = { target: target.name, steps: [] };
  for (const step of steps) {
    signal?.throwIfAborted();
    onStage?.(step.what);
    const { name, what, settings } = step;
    record.steps.push({ name, what, files: await step.apply(), ...(settings ? { settings } : {}) });
  }
  onStage?.("sealing what changed");
  await guestfish.close();
  return { ...result, child: await disks.seal(reference, "convert", record) };
}

function notConvertible(system: GuestSystem): DoppelError {
  return new DoppelError(
    "conversion-refused",
    `the guest is ${system.productName}: only Linux and Windows can be converted`,
    {
      hint: "the image can be exported and thawed as it is",
      exitCode: EXIT.refused,
    },
  );
}
