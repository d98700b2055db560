import type { Reference } from "../image/reference.ts";
import type { PullCandidate } from "../registry/pull.ts";
import type { ImageStore } from "../store/image-store.ts";
import { requireSignature, type TrustDemands } from "./require-trusted.ts";
import { goodSignatures, signaturesIn } from "./signatures.ts";

/**
 * What a pull asks before it fetches disks: whether the image has the signatures that are demanded, among what is attached to it
 * there and here. `reference` is the name in the registry.
 */
export function pullGate(
  store: ImageStore,
  reference: Reference,
  demands: TrustDemands,
): (candidate: PullCandidate) => Promise<void> {
  return async ({ digest, attachments }) => {
    await requireSignature(reference, demands, async (keys) => {
      const good = await goodSignatures(store, digest, keys);
      for (const manifest of attachments)
        good.push(...(await signaturesIn(store.blobs, manifest, digest, keys)));
      return good;
    });
  };
}
