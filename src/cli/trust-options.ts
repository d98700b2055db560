import type { Command } from "commander";
import type { Reference } from "../image/reference.ts";
import { defaultHome, type ImageStore, type StoredImage } from "../store/image-store.ts";
import { readPublicKey, type TrustedKey } from "../trust/keys.ts";
import { readPolicy } from "../trust/policy.ts";
import { requireTrusted, type TrustDemands, type TrustReport } from "../trust/require-trusted.ts";

export interface TrustFlags {
  requireSignature: string[];
  policy?: string;
  allowRevoked?: boolean;
}

/** The options of commands that use an image only when it is trusted. */
export function withTrustOptions(command: Command): Command {
  return command
    .option(
      "--require-signature <file>",
      "only with a signature by this public key; can be given again, one of them is enough",
      (file: string, all: string[]) => [...all, file],
      [],
    )
    .option("--policy <file>", "the policy instead of policy.yaml in the store's folder");
}

/** As `withTrustOptions`, of commands that refuse revoked images. */
export function withUseOptions(command: Command): Command {
  return withTrustOptions(command).option(
    "--allow-revoked",
    "go on although the image, or one it was made from, was revoked",
  );
}

export async function readDemands(flags: TrustFlags): Promise<TrustDemands> {
  const keys: TrustedKey[] = [];
  for (const file of flags.requireSignature) keys.push(await readPublicKey(file));
  const policy = await readPolicy(defaultHome(), flags.policy);
  return { policy, keys, allowRevoked: flags.allowRevoked === true };
}

/** Finds the image that a command is about to use, and refuses one that is not trusted (src/trust/require-trusted.ts). */
export async function resolveTrusted(
  store: ImageStore,
  reference: Reference,
  flags: TrustFlags,
): Promise<StoredImage> {
  const image = await store.resolve(reference);
  warnOfRevocations(await requireTrusted(store, image, reference, await readDemands(flags)));
  return image;
}

/** Says on stderr what is gone over. */
export function warnOfRevocations({ revocations }: Pick<TrustReport, "revocations">): void {
  for (const { image, by, why } of revocations)
    process.stderr.write(`warning: ${image} was revoked by ${by}: ${why}\n`);
}
