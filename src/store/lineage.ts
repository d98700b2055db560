import type { ImageSummary } from "./catalog.ts";
import type { ImageStore } from "./image-store.ts";

/** An image in the tree of those that it comes from and that come from it. */
export interface LineageNode {
  digest: string;
  names: string[];
  grade: string | undefined;
  created: string | undefined;
  /** It is named as a parent and is not here. */
  missing: boolean;
  children: LineageNode[];
}

/** Longer lines of parents are cut: an image from elsewhere may name itself. */
const MOST_DEPTH = 100;

/**
 * The family of an image: its ancestors one below another, and everything that comes from it. Brothers and their children are
 * left out. From the catalog alone.
 */
export function lineageOf(store: ImageStore, digest: string): LineageNode {
  const seen = new Set<string>();
  let node = withChildren(store, digest, seen);
  let parent = store.catalog.summary(digest)?.parent;
  for (let depth = 0; parent && !seen.has(parent) && depth < MOST_DEPTH; depth++) {
    seen.add(parent);
    const summary = store.catalog.summary(parent);
    node = { ...nodeOf(store, parent, summary), children: [node] };
    parent = summary?.parent;
  }
  return node;
}

function withChildren(store: ImageStore, digest: string, seen: Set<string>): LineageNode {
  seen.add(digest);
  const children = seen.size < MOST_DEPTH * MOST_DEPTH ? store.catalog.childrenOf(digest) : [];
  return {
    ...nodeOf(store, digest, store.catalog.summary(digest)),
    children: children.filter((child) => !seen.has(child)).map((child) => withChildren(store, child, seen)),
  };
}

function nodeOf(
  store: ImageStore,
  digest: string,
  summary: ImageSummary | undefined,
): Omit<LineageNode, "children"> {
  return {
    digest,
    names: store.catalog.tagsOf(digest).map(({ name, tag }) => `${name}:${tag}`),
    grade: summary?.grade,
    created: summary?.created,
    missing: summary === undefined,
  };
}
