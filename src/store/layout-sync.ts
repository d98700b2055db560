import type { Catalog } from "./catalog.ts";
import { layoutIndexStamp, writeLayoutIndex } from "./layout-index.ts";

/** Under which name the catalog keeps the stamp of the index.json that says the same as it. */
const INDEX_STAMP = "index";

/** Inside a write transaction: makes index.json say what the catalog says. */
export function writeLayout(catalog: Catalog, layout: string): void {
  const sizes = catalog.manifestSizes();
  const entryOf = (digest: string) => ({ digest, sizeBytes: sizes.get(digest) ?? 0 });
  const referrers = catalog.attachments().map(({ digest, manifestBytes, artifactType, annotations }) => ({
    digest,
    sizeBytes: manifestBytes,
    artifactType,
    annotations,
  }));
  const stamp = writeLayoutIndex(layout, {
    images: catalog.names().map(({ digest, name, tag }) => ({ ...entryOf(digest), name, tag })),
    unnamed: catalog.untagged().map(entryOf),
    referrers,
    channels: catalog.channels.save(),
  });
  catalog.setState(INDEX_STAMP, stamp);
}

/** False when index.json is not the one that the catalog's last change wrote: a crash came between the two. */
export function agreesWithLayout(catalog: Catalog, layout: string): boolean {
  return catalog.state(INDEX_STAMP) === layoutIndexStamp(layout);
}
