import { createPublicKey, type KeyObject } from "node:crypto";
import { z } from "zod";
import { DoppelError, EXIT } from "../errors.ts";
import { digestSchema } from "../image/config.ts";
import { SIGNATURE_ANNOTATION } from "../image/manifest.ts";
import { parseJson } from "../parse-json.ts";
import { ancestorsOf } from "../store/ancestry.ts";
import { readAttachmentManifest } from "../store/attachment-manifest.ts";
import { attach } from "../store/attachments.ts";
import type { Attachment } from "../store/catalog.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { formatPublicKey, keyId, parsePublicKey } from "./keys.ts";
import { signBytes, verifyBytes } from "./payload.ts";

export const REVOCATION_TYPE = "application/vnd.doppel.revocation.v1";

const PAYLOAD_TYPE = "application/vnd.doppel.revocation.v1+json";
const KEY_ANNOTATION = "org.doppel.signature.key";
const MOST_PAYLOAD_BYTES = 65_536;
const MOST_WHY_CHARACTERS = 1000;

const payloadSchema = z.strictObject({
  version: z.literal(1),
  image: digestSchema,
  action: z.enum(["revoke", "undo"]),
  /** Of an undo: the manifest of the revocation that it takes back. */
  revocation: digestSchema.optional(),
  why: z.string().max(MOST_WHY_CHARACTERS),
  by: z.string().max(256),
  at: z.string().max(64),
});

type Payload = z.infer<typeof payloadSchema>;

/** A revocation that is in force. */
export interface Revocation {
  /** Of its manifest. */
  digest: string;
  /** The image that it names. */
  image: string;
  why: string;
  by: string;
  at: string;
  /** The key that signed it; null for one that nobody signed. */
  key: string | null;
}

interface Entry {
  digest: string;
  payload: Payload;
  key: string | null;
}

export interface RevocationOptions {
  why: string;
  by: string;
  /** Signs it. */
  key?: KeyObject | undefined;
}

/** Says of an image that it must not be used any more, in a referrer that travels with it. */
export async function revokeImage(
  store: ImageStore,
  image: StoredImage,
  options: RevocationOptions,
): Promise<void> {
  await attachPayload(store, image, { action: "revoke" }, options);
}

/**
 * Takes back what is in force. A signed revocation is taken back with the key that signed it alone: `revocation-signed`
 * (exit 3) else. Returns what was taken back.
 */
export async function undoRevocations(
  store: ImageStore,
  image: StoredImage,
  options: RevocationOptions,
): Promise<Revocation[]> {
  const inForce = await revocationsOf(store, image.digest);
  const mine = options.key === undefined ? null : keyId(options.key);
  const foreign = inForce.find(({ key }) => key !== null && key !== mine);
  if (foreign) {
    throw new DoppelError(
      "revocation-signed",
      `the revocation of ${image.digest} was signed by key ${foreign.key}`,
      {
        hint: "take it back with --key and the private half of that key",
        exitCode: EXIT.refused,
      },
    );
  }
  for (const { digest } of inForce)
    await attachPayload(store, image, { action: "undo", revocation: digest }, options);
  return inForce;
}

/** The revocations of an image that are in force: not taken back, where signed by an undo that the same key signed. */
export async function revocationsOf(store: ImageStore, digest: string): Promise<Revocation[]> {
  const entries: Entry[] = [];
  for (const attachment of store.catalog.attachments(digest)) {
    const entry =
      attachment.artifactType === REVOCATION_TYPE ? await readEntry(store, attachment) : undefined;
    if (entry?.payload.image === digest) entries.push(entry);
  }
  const undone = (revoked: Entry) =>
    entries.some(
      ({ payload, key }) =>
        payload.action === "undo" &&
        payload.revocation === revoked.digest &&
        (revoked.key === null || revoked.key === key),
    );
  return entries
    .filter((entry) => entry.payload.action === "revoke" && !undone(entry))
    .map(({ digest: own, key, payload: { image, why, by, at } }) => ({
      digest: own,
      image,
      why,
      by,
      at,
      key,
    }));
}

/** The revocations that hold for an image: its own, and those of all that it was made from, as far as they are known here. */
export async function revocationsOver(store: ImageStore, digest: string): Promise<Revocation[]> {
  const found: Revocation[] = [];
  for (const image of [digest, ...ancestorsOf(store.catalog, digest)])
    found.push(...(await revocationsOf(store, image)));
  return found;
}

async function attachPayload(
  store: ImageStore,
  image: StoredImage,
  what: Pick<Payload, "action" | "revocation">,
  { why, by, key }: RevocationOptions,
): Promise<void> {
  const at = new Date().toISOString();
  const payload: Payload = { version: 1, image: image.digest, ...what, why, by, at };
  const content = Buffer.from(JSON.stringify(payload));
  const signature = key && {
    [SIGNATURE_ANNOTATION]: signBytes(content, key),
    [KEY_ANNOTATION]: formatPublicKey(createPublicKey(key)),
  };
  const file = { title: "revocation.json", mediaType: PAYLOAD_TYPE, content, annotations: signature ?? {} };
  await attach(store, image, { artifactType: REVOCATION_TYPE, created: at, annotations: {}, files: [file] });
}

/** Reads a revocation or an undo; undefined when it is none, or claims a signature that it does not have. */
async function readEntry(store: ImageStore, { digest }: Attachment): Promise<Entry | undefined> {
  const { layers } = await readAttachmentManifest(store.blobs, digest);
  const layer = layers.find(
    ({ mediaType, size }) => mediaType === PAYLOAD_TYPE && size <= MOST_PAYLOAD_BYTES,
  );
  if (!layer) return undefined;
  const content = await store.blobs.read(layer.digest, MOST_PAYLOAD_BYTES);
  const payload = payloadSchema.safeParse(parseJson(content.toString("utf8")));
  if (!payload.success) return undefined;
  const signature = layer.annotations?.[SIGNATURE_ANNOTATION];
  const pem = layer.annotations?.[KEY_ANNOTATION];
  const signer = signature === undefined || pem === undefined ? null : signerOf(content, signature, pem);
  // A revocation with a bad signature still warns; an undo with one is nobody's.
  return signer === undefined && payload.data.action === "undo"
    ? undefined
    : { digest, payload: payload.data, key: signer ?? null };
}

function signerOf(content: Buffer, signature: string, pem: string): string | undefined {
  try {
    return verifyBytes(content, signature, [parsePublicKey(pem, "the key of a revocation")])?.id;
  } catch (error) {
    if (error instanceof DoppelError && error.code === "key-invalid") return undefined;
    throw error;
  }
}
