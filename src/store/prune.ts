import { formatReference, type Reference } from "../image/reference.ts";
import type { TaggedImage } from "./catalog.ts";
import { type Hold, Holders } from "./holders.ts";
import type { ImageStore } from "./image-store.ts";
import { type KeepRules, keptBy } from "./retention.ts";

/** What becomes of the tags that an image has under one name. */
export interface PruneDecision {
  name: string;
  tags: string[];
  digest: string;
  created: string;
  keep: boolean;
  /** The rules that keep it; of one that no rule keeps, what else does. */
  why: string[];
}

export interface PruneOptions {
  rules: KeepRules;
  /** Which images the rules are about; the others stay as they are. */
  isMeant: (image: TaggedImage) => boolean;
  now: Date;
  dryRun: boolean;
}

/**
 * Takes the names from images that no rule keeps, each name by itself. An image that has a child which stays, or that a machine
 * runs on, keeps its names. Blobs stay until `collectGarbage` (src/store/gc.ts).
 */
export function pruneImages(store: ImageStore, options: PruneOptions): PruneDecision[] {
  if (options.dryRun) return store.catalog.rehearse(() => planPrune(store, options));
  return store.change(() => {
    const decisions = planPrune(store, options);
    for (const { name, tags, keep } of decisions)
      if (!keep) for (const tag of tags) store.catalog.removeTag(name, tag);
    return decisions;
  });
}

function planPrune(store: ImageStore, { rules, isMeant, now }: PruneOptions): PruneDecision[] {
  const nameOf = ({ name, tag }: Reference) => formatReference({ name, tag });
  const channels = new Set(store.catalog.channels.list().map(nameOf));
  // A channel moves by promotion only.
  const meant = store.list().filter((image) => isMeant(image) && !channels.has(nameOf(image)));
  const byName = groupBy(meant, ({ name }) => name);
  const decisions = [...byName].flatMap(([name, images]) => decide(name, images, rules, now));
  keepWhatIsHeld(store, decisions);
  return decisions;
}

function decide(name: string, images: readonly TaggedImage[], rules: KeepRules, now: Date): PruneDecision[] {
  const byDigest = groupBy(images, ({ digest }) => digest);
  const candidates = [...byDigest.values()].flatMap(([image]) =>
    image ? [{ digest: image.digest, created: new Date(image.created) }] : [],
  );
  const kept = keptBy(candidates, rules, now);
  return candidates.map(({ digest, created }) => {
    const why = kept.get(digest) ?? [];
    const tags = (byDigest.get(digest) ?? []).map(({ tag }) => tag);
    return { name, tags, digest, created: created.toISOString(), keep: why.length > 0, why };
  });
}

/** Until nothing changes any more: who goes must not leave a child behind. */
function keepWhatIsHeld(store: ImageStore, decisions: PruneDecision[]): void {
  const { catalog } = store;
  const holders = new Holders(catalog, store.home);
  const unheld = new Set(holders.unheld(catalog.untagged()));
  for (let changed = true; changed; ) {
    changed = false;
    const losing = countTags(decisions.filter(({ keep }) => !keep));
    const goes = (digest: string) =>
      unheld.has(digest) || (losing.get(digest) ?? 0) === (catalog.tagsOf(digest).length || Infinity);
    for (const decision of decisions) {
      if (decision.keep || !goes(decision.digest)) continue;
      const holds = holders.holdsOf(decision.digest, goes).filter(({ kind }) => kind !== "process");
      if (holds.length === 0) continue;
      Object.assign(decision, { keep: true, why: holds.map(holdReason) });
      changed = true;
    }
  }
}

function countTags(decisions: readonly PruneDecision[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { digest, tags } of decisions) counts.set(digest, (counts.get(digest) ?? 0) + tags.length);
  return counts;
}

function holdReason({ kind, by }: Hold): string {
  return `${kind} ${kind === "child" ? by.slice(0, "sha256:".length + 12) : by}`;
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}
