import type { GuestDisk } from "../guest/guestfish.ts";
import type { MachineFacts, Nic } from "../machine/facts.ts";
import type { CapturePlan } from "../machine/plan.ts";
import { blockDevices } from "./disk-devices.ts";
import { type GuestFindings, inspectGuest } from "./inspect-guest.ts";
import type { OvfMachineEntry } from "./ovf-document.ts";

/** What a machine of which nothing is known gets: enough for any system that is still in use. */
const USUAL_CPUS = 2;
const USUAL_MEMORY_BYTES = 2 * 1024 ** 3;

export interface NamedCard {
  name: string;
  mac: string;
}

export interface MachineSources {
  plan: CapturePlan;
  /** What the disks are called, without folders. */
  labels: string[];
  /** What an OVF descriptor says. */
  described: OvfMachineEntry | undefined;
  /** What the user says. */
  cards: readonly NamedCard[];
  /** The disks as an appliance can read them; undefined: nobody looks into them. */
  guestDisks: GuestDisk[] | undefined;
  signal?: AbortSignal | undefined;
}

/** Machine facts as a capture has them, from the disks and a descriptor; `assumed` lists those that nobody told. */
export async function machineFacts(sources: MachineSources): Promise<MachineFacts> {
  const { plan, described, guestDisks, signal } = sources;
  const block = blockDevices(plan, sources.labels);
  const found = guestDisks && (await inspectGuest(guestDisks, block, signal));
  const assumed: string[] = [];
  const known = <T>(name: string, value: T | undefined, usual: T): T => {
    if (value === undefined) assumed.push(name);
    return value ?? usual;
  };
  return {
    schema: 1,
    collectedAt: new Date().toISOString(),
    hardware: {
      arch: known("hardware.arch", found?.arch, "x86_64"),
      cpus: known("hardware.cpus", described?.cpus, USUAL_CPUS),
      memoryBytes: known("hardware.memoryBytes", described?.memoryBytes, USUAL_MEMORY_BYTES),
    },
    firmware: { type: known("firmware.type", described?.firmware ?? found?.firmware, "bios") },
    nics: cardsOf(described?.cards ?? [], sources.cards),
    block: found?.block ?? block,
    os: osOf(found, described),
    modules: [],
    assumed,
  };
}

/** Those of a descriptor, with the names that were given for their addresses, and those that no descriptor lists. */
function cardsOf(described: OvfMachineEntry["cards"], named: readonly NamedCard[]): Nic[] {
  const nameOf = (mac: string | undefined) => named.find((card) => card.mac === mac)?.name;
  const listed = described.map((card, index) => {
    const nic = cardOf(card, index);
    return { ...nic, name: nameOf(card.mac) ?? nic.name };
  });
  const others = named.filter(({ mac }) => !described.some((card) => card.mac === mac));
  return [
    ...listed,
    ...others.map(
      ({ name, mac }): Nic => ({ name, kind: "physical", mac, permanentMac: mac, addresses: [] }),
    ),
  ];
}

/**
 * The guest's own name of a card is not known. One with a blank in it is none that a system could have, so that a conversion
 * gives no card a name that its configuration does not know.
 */
function cardOf({ mac, model }: OvfMachineEntry["cards"][number], index: number): Nic {
  return {
    name: `card ${index + 1}`,
    kind: "physical",
    ...(mac === undefined ? {} : { mac, permanentMac: mac }),
    ...(model === undefined ? {} : { driver: model.toLowerCase() }),
    addresses: [],
  };
}

function osOf(found: GuestFindings | undefined, described: OvfMachineEntry | undefined): MachineFacts["os"] {
  const os: MachineFacts["os"] = { kernels: [], ...found?.os };
  return os.hostname == null && described ? { ...os, hostname: described.name } : os;
}
