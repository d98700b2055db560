import { BOOT_TEST_RESULT, BOOT_TEST_TYPE } from "../freezer/boot-evidence.ts";
import type { Channel, ChannelCheck } from "../store/channels.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { lastVerification } from "../store/verifications.ts";
import { parsePublicKey } from "./keys.ts";
import { goodSignatures } from "./signatures.ts";

/** How an image stands to one check of a channel. */
export interface CheckResult {
  check: ChannelCheck;
  met: boolean;
  /** What was found. */
  what: string;
  /** The command that meets it. */
  command: string;
}

interface Judged {
  store: ImageStore;
  image: StoredImage;
  channel: Channel;
}

type Judge = (judged: Judged) => Promise<{ met: boolean; what: string }>;

/** What each check looks at, and the command that meets it. */
const CHECKS: Record<ChannelCheck, { judge: Judge; command: (ref: string) => string }> = {
  verified: {
    command: (ref) => `doppel images verify ${ref}`,
    judge: async ({ store, image }) => {
      const last = lastVerification(store.catalog, image.digest);
      if (!last) return { met: false, what: "was not verified on this machine" };
      const whole = last.result === "whole";
      return { met: whole, what: `${whole ? "was whole" : "was damaged"} on ${last.at}` };
    },
  },
  "boot-tested": {
    command: (ref) => `doppel boot-test ${ref}`,
    judge: async ({ store, image }) => {
      const newest = store.catalog
        .attachments(image.digest)
        .find(({ artifactType }) => artifactType === BOOT_TEST_TYPE);
      const result = newest?.annotations[BOOT_TEST_RESULT];
      return { met: result?.split(",")[0] === "yes", what: `boots: ${result ?? "not tested"}` };
    },
  },
  signed: {
    command: (ref) => `doppel images sign ${ref} --key FILE`,
    judge: async ({ store, image, channel }) => {
      const keys = channel.keys.map((pem) => parsePublicKey(pem, "a key of the channel"));
      const [good] = await goodSignatures(store, image.digest, keys);
      return {
        met: good !== undefined,
        what: good ? `signed by ${good.key.id}` : "no signature by a key of the channel",
      };
    },
  },
};

/** Holds an image to what a channel demands; `ref` is how the commands name it. */
export async function checkForChannel(
  store: ImageStore,
  image: StoredImage,
  channel: Channel,
  ref: string,
): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const check of channel.requires) {
    const { judge, command } = CHECKS[check];
    results.push({ check, ...(await judge({ store, image, channel })), command: command(ref) });
  }
  return results;
}
