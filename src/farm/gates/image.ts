import { readInstance } from "../../freezer/instance.ts";
import type { FarmContext } from "../context.ts";
import { membersOf } from "../journal/entry.ts";
import { foldJournal } from "../journal/state.ts";
import { shadowImage } from "../steps/image.ts";
import type { Gate } from "./gate.ts";
import { verdict } from "./verdict.ts";

const DIGEST_SHOWN = 19;

/** The image that the file names, the one that was provisioned and the one that each shadow is of are the same. */
export function imageGate(context: FarmContext): Gate {
  const { farm, store, journal, machines } = context;
  return {
    id: "image",
    title: "the shadows are of the image that was provisioned, and the file names no other one",
    look: async () => {
      const { digest } = await shadowImage(context);
      const { steps } = foldJournal(journal.entries());
      const reasons: string[] = [];
      for (const box of farm.spec.boxes) {
        if (box.kind !== "libvirt") continue;
        const { name } = machines.shadow(box);
        const { imageDigest } = await readInstance(store.home, name);
        const step = steps.find((one) => one.step === `box/${box.name}/shadow`);
        const recorded = step?.state === "done" ? membersOf(step.result).digest : undefined;
        if (typeof recorded !== "string") reasons.push(`${name} was not provisioned`);
        else if (recorded !== digest) reasons.push(`${name} was provisioned of ${short(recorded)}`);
        else if (imageDigest !== digest) reasons.push(`${name} is of ${short(imageDigest)}`);
      }
      return verdict(
        short(digest),
        reasons.map((reason) => `${reason}, the image is ${short(digest)}`),
      );
    },
  };
}

const short = (digest: string): string => digest.slice(0, DIGEST_SHOWN);
