import { mountSystem } from "../guest-system.ts";
import type { GuestContext, GuestPlan, Planner, Step } from "../step.ts";
import { planDeviceNames } from "./device-names.ts";
import { planFallbackLoader } from "./fallback-loader.ts";
import { planFirstboot } from "./firstboot.ts";
import { planInitramfs } from "./initramfs-step.ts";
import { planNetworkNames } from "./network-names.ts";
import { planNetworkSettings } from "./network-settings.ts";
import { planResidue } from "./residue.ts";
import { planSerialConsole } from "./serial-console.ts";
import { planStaleCaches } from "./stale-caches.ts";
import { planSysprep } from "./sysprep.ts";

/** In the order in which they are carried out; a rebuild of the initramfs must see what the others wrote. */
const PLANNERS: readonly Planner[] = [
  planDeviceNames,
  planSysprep,
  planNetworkNames,
  planNetworkSettings,
  planStaleCaches,
  planResidue,
  planSerialConsole,
  planFirstboot,
  planFallbackLoader,
  planInitramfs,
];

/** Mounts a Linux guest and plans what is done to it. Throws `conversion-refused` (exit 3). */
export async function planLinux(context: GuestContext): Promise<GuestPlan> {
  const skippedMounts = await mountSystem(context.guestfish, context.system);
  const steps: Step[] = [];
  for (const planner of PLANNERS) steps.push(...(await planner(context)));
  return { steps, skippedMounts };
}
