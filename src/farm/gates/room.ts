import { statfs } from "node:fs/promises";
import { Pool } from "../../freezer/pool.ts";
import { freeMemory, promisedMemory, runningDomains } from "../../hypervisor/host-memory.ts";
import { Virsh } from "../../hypervisor/virsh.ts";
import { parseFacts } from "../../machine/facts.ts";
import type { StoredImage } from "../../store/image-store.ts";
import { formatBytes } from "../../units.ts";
import type { FarmContext } from "../context.ts";
import type { LibvirtBox } from "../file/boxes.ts";
import { shadowImage } from "../steps/image.ts";
import type { Gate } from "./gate.ts";

/** What one host has and what the shadows there want, in bytes. */
export interface Room {
  freeBytes: number;
  /** Promised to machines that run there, the live ones among them, and not taken by them yet. */
  promisedBytes: number;
  wantedBytes: number;
}

/** Whether a host has room for the shadows beside what runs there; else what it lacks. */
export function lacks({ freeBytes, promisedBytes, wantedBytes }: Room, what: string): string | undefined {
  const left = Math.max(0, freeBytes - promisedBytes);
  if (wantedBytes <= left) return undefined;
  const promised =
    promisedBytes > 0 ? `, of which ${formatBytes(promisedBytes)} are promised to machines that run` : "";
  return `${formatBytes(wantedBytes)} of ${what} are wanted, ${formatBytes(freeBytes)} are free${promised}`;
}

/** One gate for each host: memory and disk do for the live machines and for the shadows beside them. */
export function roomGates(context: FarmContext): Gate[] {
  const boxes = context.farm.spec.boxes.filter((box) => box.kind === "libvirt");
  const hosts = new Map<string, LibvirtBox[]>();
  for (const box of boxes) hosts.set(box.connect, [...(hosts.get(box.connect) ?? []), box]);
  return [...hosts].map(([connect, there]) => ({
    id: `room/${connect}`,
    title: `${connect} has room for ${there.map(({ name }) => name).join(", ")} and the shadows`,
    look: async () => {
      const virsh = new Virsh(connect);
      const missing: LibvirtBox[] = [];
      for (const box of there)
        if ((await virsh.state(context.machines.shadow(box).name)) !== "running") missing.push(box);
      if (missing.length === 0) return { passed: true, message: "the shadows run already" };
      const image = await shadowImage(context);
      const reasons = [
        await lacksMemory(context, virsh, missing, image),
        ...(await lackDisk(context, virsh, missing, image)),
      ];
      const why = reasons.filter((reason) => reason !== undefined).join("; ");
      return { passed: why === "", message: why || "memory and disk do for both" };
    },
  }));
}

async function lacksMemory(
  context: FarmContext,
  virsh: Virsh,
  boxes: readonly LibvirtBox[],
  image: StoredImage,
) {
  const captured = parseFacts(image.config.doppel.facts, context.farm.path).hardware.memoryBytes;
  const wanted = boxes.map((box) => box.shadow.memory ?? context.farm.spec.resources.memory ?? captured);
  const promised = await Promise.all(
    (await runningDomains(virsh)).map((name) => promisedMemory(virsh, name)),
  );
  return lacks(
    { freeBytes: await freeMemory(virsh), promisedBytes: sum(promised), wantedBytes: sum(wanted) },
    "memory",
  );
}

/** By pool: the image's disks where they are not there yet, and what each shadow may write. */
async function lackDisk(
  context: FarmContext,
  virsh: Virsh,
  boxes: readonly LibvirtBox[],
  image: StoredImage,
) {
  const { disks } = image.config.doppel;
  const perShadow = context.farm.spec.resources.disk ?? sum(disks.map(({ sizeBytes }) => sizeBytes));
  const base = sum(disks.map(({ dataBytes }) => dataBytes));
  const reasons: (string | undefined)[] = [];
  for (const name of new Set(boxes.map(({ pool }) => pool))) {
    const shadows = boxes.filter(({ pool }) => pool === name).length;
    const freeBytes =
      name === undefined ? await freeHere(context) : await (await Pool.open(virsh, name)).availableBytes();
    const where = name === undefined ? "disk here" : `disk in the pool ${name}`;
    reasons.push(lacks({ freeBytes, promisedBytes: 0, wantedBytes: base + shadows * perShadow }, where));
  }
  return reasons;
}

async function freeHere({ store }: FarmContext): Promise<number> {
  const { bavail, bsize } = await statfs(store.home);
  return bavail * bsize;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
