import { machineFactsSchema } from "./facts.ts";

/** What a disk is known by. */
export interface DiskIdentity {
  device: string;
  sizeBytes: number;
  serial?: string | undefined;
}

/** What disks of a machine are known by; `facts` are what was seen of it, which an image may have in another form or not at all. */
export function identifyDisks(
  disks: readonly { device: string; sizeBytes: number }[],
  facts: unknown,
): DiskIdentity[] {
  const parsed = machineFactsSchema.safeParse(facts);
  const block = parsed.success ? parsed.data.block : [];
  return disks.map(({ device, sizeBytes }) => {
    const serial = block.find(({ path }) => path === device)?.serial;
    return { device, sizeBytes, ...(serial ? { serial } : {}) };
  });
}

type Test = (before: DiskIdentity, now: DiskIdentity) => boolean;

/** From what proves that two disks are one to what only suggests it. */
const TESTS: readonly Test[] = [
  (before, now) => before.serial !== undefined && before.serial === now.serial,
  (before, now) => before.device === now.device && before.sizeBytes === now.sizeBytes,
  (before, now) => before.sizeBytes === now.sizeBytes,
  (before, now) => before.device === now.device,
];

/**
 * Finds for each disk the one of `before` that it was, by index; undefined where there is none. A wrong guess costs a comparison,
 * never a byte: what is the same is decided by the hashes of clusters.
 */
export function matchDisks(
  before: readonly DiskIdentity[],
  now: readonly DiskIdentity[],
): (number | undefined)[] {
  const found: (number | undefined)[] = now.map(() => undefined);
  const taken = new Set<number>();
  for (const test of TESTS) {
    for (const [index, disk] of now.entries()) {
      if (found[index] !== undefined) continue;
      const match = before.findIndex((other, number) => !taken.has(number) && test(other, disk));
      if (match < 0) continue;
      found[index] = match;
      taken.add(match);
    }
  }
  return found;
}
