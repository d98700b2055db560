import { BOOT_TEST_RESULT, BOOT_TEST_TYPE } from "../freezer/boot-evidence.ts";
import { descendantsOf } from "../store/ancestry.ts";
import type { TaggedImage } from "../store/catalog.ts";
import type { ImageStore } from "../store/image-store.ts";
import { LABELS_TYPE, type Labels, labelsIn } from "../store/labels.ts";
import { REVOCATION_TYPE, revocationsOf } from "../trust/revocation.ts";

/** An image with the result of its last boot test, or null when it had none; revoked when one that it was made from was. */
export interface ListedImage extends TaggedImage {
  boots: string | null;
  labels: Labels;
  revoked: boolean;
}

/** What is attached to images, by their digests. */
interface Attached {
  boots: Map<string, string | undefined>;
  labels: Map<string, Labels>;
  revoked: Set<string>;
}

const NO_LABELS: Labels = {};

/** All images that have a name, the newest first. */
export async function listedImages(store: ImageStore): Promise<ListedImage[]> {
  const { boots, labels, revoked } = await readAttached(store);
  return store.list().map((image) =>
    Object.assign(image, {
      boots: boots.get(image.digest) ?? null,
      labels: labels.get(image.digest) ?? NO_LABELS,
      revoked: revoked.has(image.digest),
    }),
  );
}

/** Reads blobs of revoked images only. */
async function readAttached(store: ImageStore): Promise<Attached> {
  const attached: Attached = { boots: new Map(), labels: new Map(), revoked: new Set() };
  const { boots, labels, revoked } = attached;
  // The newest come first: of each kind the first counts.
  for (const attachment of store.catalog.attachments()) {
    const { subject, artifactType, annotations } = attachment;
    if (artifactType === BOOT_TEST_TYPE && !boots.has(subject))
      boots.set(subject, annotations[BOOT_TEST_RESULT]);
    if (artifactType === LABELS_TYPE && !labels.has(subject)) labels.set(subject, labelsIn([attachment]));
    if (artifactType === REVOCATION_TYPE && !revoked.has(subject))
      if ((await revocationsOf(store, subject)).length > 0)
        for (const one of [subject, ...descendantsOf(store.catalog, subject)]) revoked.add(one);
  }
  return attached;
}
