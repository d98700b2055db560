import { BOOT_TEST_RESULT, BOOT_TEST_TYPE } from "../freezer/boot-test.ts";
import type { ImageStore } from "../store/image-store.ts";
import type { ListedImage } from "./images-text.ts";
import { listFacts } from "./images-trust-text.ts";

/** All images that have a name, with the result of their last boot test, labels and revocations; the newest first. */
export async function listedImages(store: ImageStore): Promise<ListedImage[]> {
  const tests = store.catalog.attachments().filter(({ artifactType }) => artifactType === BOOT_TEST_TYPE);
  // The newest come first: the last of the reversed list stays.
  const newest = new Map(
    tests.toReversed().map((test) => [test.subject, test.annotations[BOOT_TEST_RESULT]]),
  );
  const factsOf = await listFacts(store);
  return store
    .list()
    .map((image) =>
      Object.assign(image, { boots: newest.get(image.digest) ?? null, ...factsOf(image.digest) }),
    );
}
