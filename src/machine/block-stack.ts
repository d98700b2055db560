import type { BlockDevice, MachineFacts } from "./facts.ts";

/** A block device with what lies on it. A device on several others (md, LVM) stands under each of them. */
export interface StackNode {
  device: BlockDevice;
  children: StackNode[];
}

/** The block stack as trees: disk, partition, md, LVM, LUKS. */
export function blockStack(facts: MachineFacts): StackNode[] {
  const names = new Set(facts.block.map((device) => device.name));
  const roots = facts.block.filter((device) => !device.parents.some((parent) => names.has(parent)));
  return roots.map((device) => nodeOf(device, facts, new Set()));
}

/** The names of a device and of everything that lies on it. */
export function devicesOn(facts: MachineFacts, name: string): Set<string> {
  const found = new Set([name]);
  for (let before = 0; before !== found.size; ) {
    before = found.size;
    for (const device of facts.block)
      if (device.parents.some((parent) => found.has(parent))) found.add(device.name);
  }
  return found;
}

/** The disks at the bottom of a device. */
export function disksUnder(facts: MachineFacts, device: BlockDevice): string[] {
  if (device.parents.length === 0) return [device.path];
  const parents = facts.block.filter((candidate) => device.parents.includes(candidate.name));
  return [...new Set(parents.flatMap((parent) => disksUnder(facts, parent)))];
}

function nodeOf(device: BlockDevice, facts: MachineFacts, above: ReadonlySet<string>): StackNode {
  const path = new Set([...above, device.name]);
  const children = facts.block.filter(
    (child) => child.parents.includes(device.name) && !path.has(child.name),
  );
  return { device, children: children.map((child) => nodeOf(child, facts, path)) };
}
