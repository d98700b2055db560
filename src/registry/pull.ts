import { z } from "zod";
import { DoppelError } from "../errors.ts";
import { MAX_JSON_BLOB_BYTES, parseImageConfig } from "../image/config.ts";
import {
  type AttachmentManifest,
  type Descriptor,
  type Manifest,
  MEDIA_TYPES,
  parseManifest,
} from "../image/manifest.ts";
import type { Reference } from "../image/reference.ts";
import { parseJson } from "../parse-json.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { forEachBounded } from "./bounded.ts";
import { downloadBlob } from "./download.ts";
import { findAttachments, keepAttachment } from "./pull-attachments.ts";
import type { TransferProgress } from "./push.ts";
import type { RemoteManifest, Repository } from "./repository.ts";

/** What is about to be pulled. */
export interface PullCandidate {
  digest: string;
  /** The manifests of what is attached to it there; their blobs are in the store. */
  attachments: readonly AttachmentManifest[];
}

export interface PullOptions {
  /** Looks at an image before its disks are fetched; what it throws ends the pull. */
  accept?: (candidate: PullCandidate) => Promise<void>;
  onProgress?: (progress: TransferProgress) => void;
}

export interface PullReport {
  digest: string;
  blobs: number;
  totalBytes: number;
  receivedBlobs: number;
  receivedBytes: number;
  attachments: number;
  /** Digests of what is attached there but was left there: too large, or not in a form that is understood. */
  leftAttachments: string[];
}

const BLOBS_AT_ONCE = 4;

/**
 * Fetches an image by tag or digest: the blobs that the store has not (of a child whose parent is here, only what differs),
 * then gives it the local name. What an interrupted pull has fetched is not fetched again.
 */
export async function pullImage(
  store: ImageStore,
  repository: Repository,
  wanted: string,
  local: Reference,
  options: PullOptions = {},
): Promise<{ image: StoredImage; report: PullReport }> {
  const name = `${repository.registry}/${repository.name}:${wanted}`;
  const found = await repository.manifest(wanted);
  if (!found) {
    throw new DoppelError("registry-unknown", `there is no image ${name}`, {
      hint: "check the name and the tag",
    });
  }
  const manifest = readManifest(found, name);
  const pull = new Pull(store, repository, options, found.digest);
  await pull.fetch([manifest.config]);
  // Before gigabytes are fetched: is it one of ours at all?
  parseImageConfig(await store.blobs.read(manifest.config.digest, MAX_JSON_BLOB_BYTES), name);
  const subject = { digest: found.digest, size: found.bytes.length };
  const { attachments, left } = await findAttachments(repository, store, subject);
  pull.report.leftAttachments = left;
  await pull.fetch(attachments.flatMap(({ manifest: { config, layers } }) => [config, ...layers]));
  await options.accept?.({ digest: found.digest, attachments: attachments.map((one) => one.manifest) });
  await pull.fetch(manifest.layers);
  await store.blobs.put(found.bytes);
  const image = await store.adoptImage(local, found.digest);
  for (const attachment of attachments) await keepAttachment(store, attachment);
  pull.report.attachments = attachments.length;
  return { image, report: pull.report };
}

const kindSchema = z.looseObject({ artifactType: z.literal(MEDIA_TYPES.artifact) });

function readManifest(found: RemoteManifest, name: string): Manifest {
  refuseForeign(found, name);
  return parseManifest(found.bytes, `${name}@${found.digest}`);
}

/** Refuses what does not even say that it is an image of a machine (`image-foreign`). */
export function refuseForeign({ bytes, mediaType }: RemoteManifest, name: string): void {
  if (kindSchema.safeParse(parseJson(bytes.toString("utf8"))).success) return;
  throw new DoppelError(
    "image-foreign",
    `${name} is not an image of a machine but something else (${mediaType})`,
    {
      hint: "only what 'doppel push' has sent can be pulled",
    },
  );
}

class Pull {
  readonly report: PullReport;
  readonly #store: ImageStore;
  readonly #repository: Repository;
  readonly #options: PullOptions;
  #doneBytes = 0;

  constructor(store: ImageStore, repository: Repository, options: PullOptions, digest: string) {
    this.#store = store;
    this.#repository = repository;
    this.#options = options;
    this.report = {
      digest,
      blobs: 0,
      totalBytes: 0,
      receivedBlobs: 0,
      receivedBytes: 0,
      attachments: 0,
      leftAttachments: [],
    };
  }

  async fetch(descriptors: readonly Descriptor[]): Promise<void> {
    const blobs = new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor]));
    this.report.blobs += blobs.size;
    for (const { size } of blobs.values()) this.report.totalBytes += size;
    await forEachBounded(blobs.values(), BLOBS_AT_ONCE, (descriptor) => this.#fetchBlob(descriptor));
  }

  async #fetchBlob(descriptor: Descriptor): Promise<void> {
    const { digest, size } = descriptor;
    if ((await this.#store.blobs.size(digest)) === size) return this.#advance(size, 0);
    await downloadBlob(this.#repository, this.#store.blobs, descriptor, (bytes) =>
      this.#advance(bytes, bytes),
    );
    this.report.receivedBlobs++;
  }

  #advance(doneBytes: number, receivedBytes: number): void {
    this.#doneBytes += doneBytes;
    this.report.receivedBytes += receivedBytes;
    const { totalBytes, receivedBytes: movedBytes } = this.report;
    this.#options.onProgress?.({ doneBytes: this.#doneBytes, totalBytes, movedBytes });
  }
}
