import { type KeyObject, sign, verify } from "node:crypto";
import { z } from "zod";
import { parseJson } from "../parse-json.ts";
import type { TrustedKey } from "./keys.ts";

const CRITICAL_TYPE = "cosign container image signature";

/** Other tools refuse members that they do not know, and so do we: what is not understood is not vouched for. */
const payloadSchema = z.strictObject({
  critical: z.strictObject({
    identity: z.strictObject({ "docker-reference": z.string() }),
    image: z.strictObject({ "docker-manifest-digest": z.string() }),
    type: z.literal(CRITICAL_TYPE),
  }),
  optional: z.record(z.string(), z.unknown()).nullable(),
});

/** What a signature says: the digest of the image's manifest, and what the signer took it for. */
export interface Claim {
  digest: string;
  identity: string;
}

/** The bytes that are signed. `at` is recorded in seconds. */
export function buildPayload({ digest, identity }: Claim, at: Date): Buffer {
  const critical = {
    identity: { "docker-reference": identity },
    image: { "docker-manifest-digest": digest },
    type: CRITICAL_TYPE,
  };
  const optional = { creator: "doppel", timestamp: Math.floor(at.getTime() / 1000) };
  return Buffer.from(JSON.stringify({ critical, optional }));
}

/** What a payload claims, or undefined when it is none. Only to be believed after `verifyBytes`. */
export function parsePayload(payload: Buffer): Claim | undefined {
  const parsed = payloadSchema.safeParse(parseJson(payload.toString("utf8")));
  if (!parsed.success) return undefined;
  const { identity, image } = parsed.data.critical;
  return { digest: image["docker-manifest-digest"], identity: identity["docker-reference"] };
}

/** ECDSA with SHA-256, DER, in base64. */
export function signBytes(bytes: Buffer, key: KeyObject): string {
  return sign("sha256", bytes, key).toString("base64");
}

/** The first of the keys that made the signature, or undefined. */
export function verifyBytes(
  bytes: Buffer,
  signature: string,
  keys: readonly TrustedKey[],
): TrustedKey | undefined {
  const decoded = Buffer.from(signature, "base64");
  return keys.find(({ key }) => verify("sha256", bytes, key, decoded));
}
