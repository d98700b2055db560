import type { ImageStore } from "../store/image-store.ts";
import { type Labels, labelsIn } from "../store/labels.ts";
import { lastVerification, type Verification } from "../store/verifications.ts";
import { type Revocation, revocationsOver } from "../trust/revocation.ts";
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
