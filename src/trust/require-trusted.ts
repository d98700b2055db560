import { DoppelError, EXIT } from "../errors.ts";
import { formatReference, type Reference } from "../image/reference.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { namePattern } from "../store/name-pattern.ts";
import { requireIntact } from "./intact.ts";
import type { TrustedKey } from "./keys.ts";
import type { Demand, Policy } from "./policy.ts";
import { type Revocation, revocationsOver } from "./revocation.ts";
import { type GoodSignature, goodSignatures } from "./signatures.ts";

/** What an image is held to before it is used. */
export interface TrustDemands {
  policy?: Policy | undefined;
  /** Keys of which one must have signed, whatever the policy says. */
  keys: readonly TrustedKey[];
  /** Go on although the image, or one that it was made from, was revoked. */
  allowRevoked?: boolean;
}

export interface TrustReport {
  /** The key that vouches for the image; null where none had to. */
  signedBy: string | null;
  /** In force and gone over by `allowRevoked`. */
  revocations: Revocation[];
}

/**
 * Refuses an image that must not be used (exit 3): one whose manifest, config or maps were changed (`image-tampered`), that was
 * revoked, or whose ancestor was (`image-revoked`), or that lacks a signature which the keys or the policy demand
 * (`signature-missing`, `policy-refused`). Every command that uses an image, and the farm, call it before they touch anything.
 */
export async function requireTrusted(
  store: ImageStore,
  image: StoredImage,
  reference: Reference,
  demands: TrustDemands,
): Promise<TrustReport> {
  await requireIntact(store, image);
  const revocations = await revocationsOver(store, image.digest);
  if (!demands.allowRevoked) refuseRevoked(image.digest, reference, revocations);
  const signedBy = await requireSignature(reference, demands, (keys) =>
    goodSignatures(store, image.digest, keys),
  );
  return { signedBy, revocations };
}

/** Holds an image to the keys and to the policy; `find` looks for signatures by the keys that it is given. */
export async function requireSignature(
  reference: Reference,
  { policy, keys }: TrustDemands,
  find: (keys: readonly TrustedKey[]) => Promise<GoodSignature[]>,
): Promise<string | null> {
  const demands: Demand[] = [policy?.demandFor(reference) ?? { require: "nothing" }];
  if (keys.length > 0)
    demands.push({ require: "signature", keys: [...keys], why: "--require-signature demands it" });
  let signedBy: string | null = null;
  for (const demand of demands) {
    if (demand.require === "nothing") continue;
    const name = formatReference(reference);
    if (demand.require === "refusal") {
      throw new DoppelError("policy-refused", `the policy does not let ${name} be used: ${demand.why}`, {
        hint: "add a rule for it, or use another image",
        exitCode: EXIT.refused,
      });
    }
    const accepts = namePattern(demand.identity ?? "*");
    const good = (await find(demand.keys)).find(({ identity }) => accepts(identity));
    if (!good) throw unsigned(name, demand);
    signedBy = good.key.id;
  }
  return signedBy;
}

function unsigned(name: string, { keys, identity, why }: Demand & { require: "signature" }): DoppelError {
  const labels = keys.map(({ label }) => label).join(" or ");
  const as = identity === undefined ? "" : ` as ${identity}`;
  return new DoppelError("signature-missing", `${name} has no signature by ${labels}${as}: ${why}`, {
    hint: `who has the private key signs it: doppel images sign ${name} --key FILE`,
    exitCode: EXIT.refused,
  });
}

function refuseRevoked(digest: string, reference: Reference, [first]: readonly Revocation[]): void {
  if (!first) return;
  const name = formatReference(reference);
  const what =
    first.image === digest
      ? `${name} was revoked`
      : `${name} was made from ${first.image}, which was revoked`;
  throw new DoppelError("image-revoked", `${what} by ${first.by} on ${first.at.slice(0, 10)}: ${first.why}`, {
    hint: "use another image; --allow-revoked goes on all the same",
    exitCode: EXIT.refused,
  });
}
