import { descendantsOf } from "../store/ancestry.ts";
import type { Attachment } from "../store/catalog.ts";
import type { ImageStore } from "../store/image-store.ts";
import { type Labels, labelsIn } from "../store/labels.ts";
import { lastVerification, type Verification } from "../store/verifications.ts";
import { REVOCATION_TYPE, type Revocation, revocationsOf, revocationsOver } from "../trust/revocation.ts";
import { listSignatures } from "../trust/signatures.ts";

/** What is known of an image beside what it holds. */
export interface TrustFacts {
  labels: Labels;
  channels: string[];
  verification: Verification | null;
  signatures: { digest: string; created: string; key: string | null }[];
  revocations: Revocation[];
}

export async function trustFacts(store: ImageStore, digest: string): Promise<TrustFacts> {
  const { catalog } = store;
  const channels = catalog.tagsOf(digest).filter((name) => catalog.channels.find(name));
  return {
    labels: labelsIn(catalog.attachments(digest)),
    channels: channels.map(({ name, tag }) => `${name}:${tag}`),
    verification: lastVerification(catalog, digest) ?? null,
    signatures: listSignatures(store, digest),
    revocations: await revocationsOver(store, digest),
  };
}

/** Lines of `doppel images show`. */
export function trustText(facts: TrustFacts, digest: string): string {
  const labels = Object.entries(facts.labels).map(([key, value]) => `${key}=${value}`);
  const { verification } = facts;
  const lines = [
    ...labels.map((label) => `label     ${label}`),
    ...facts.channels.map((channel) => `channel   ${channel}`),
    ...(verification ? [`verified  ${verification.result} on ${verification.at}`] : []),
    ...facts.signatures.map(({ created, key }) => `signature ${created}, key ${key ?? "unknown"}`),
    ...facts.revocations.map(
      ({ image, by, at, why }) =>
        `revoked   ${image === digest ? "" : `by its ancestor ${image}: `}${by}, ${at.slice(0, 10)}: ${why}`,
    ),
  ];
  return lines.map((line) => `${line}\n`).join("");
}

/** Labels for lists, and whether an image or one that it was made from was revoked. Reads blobs of revoked images only. */
export async function listFacts(
  store: ImageStore,
): Promise<(digest: string) => { labels: Labels; revoked: boolean }> {
  const bySubject = new Map<string, Attachment[]>();
  for (const attachment of store.catalog.attachments()) {
    const others = bySubject.get(attachment.subject);
    if (others) others.push(attachment);
    else bySubject.set(attachment.subject, [attachment]);
  }
  const revoked = new Set<string>();
  for (const [subject, attachments] of bySubject)
    if (attachments.some(({ artifactType }) => artifactType === REVOCATION_TYPE))
      if ((await revocationsOf(store, subject)).length > 0)
        for (const one of [subject, ...descendantsOf(store.catalog, subject)]) revoked.add(one);
  return (digest) => ({ labels: labelsIn(bySubject.get(digest) ?? []), revoked: revoked.has(digest) });
}
