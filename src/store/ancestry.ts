import { DoppelError, EXIT } from "../errors.ts";
import type { Catalog } from "./catalog.ts";

/**
 * The digests of an image's parent, the parent's parent and so on, the nearest first. The last one may not be in the store:
 * a child needs nothing of its parent. Throws `lineage-cyclic` (exit 3) when they lead in a circle.
 */
export function ancestorsOf(catalog: Catalog, digest: string): string[] {
  const found: string[] = [];
  const seen = new Set([digest]);
  for (let at = catalog.parentOf(digest); at !== undefined; at = catalog.parentOf(at)) {
    if (seen.has(at)) throw cyclic(digest, at);
    seen.add(at);
    found.push(at);
  }
  return found;
}

/** The digests of an image's children here, their children and so on, each once. Ends in a circle, too. */
export function descendantsOf(catalog: Catalog, digest: string): string[] {
  const found = new Set<string>();
  const waiting = [digest];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const child of catalog.childrenOf(at)) {
      if (child === digest || found.has(child)) continue;
      found.add(child);
      waiting.push(child);
    }
  }
  return [...found];
}

function cyclic(digest: string, again: string): DoppelError {
  return new DoppelError("lineage-cyclic", `the lineage of ${digest} leads in a circle, back to ${again}`, {
    hint: "the catalog is damaged: move catalog.db away, and it is made again from the images",
    exitCode: EXIT.refused,
  });
}
