import type { Descriptor } from "../image/manifest.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import { readAttachmentManifest } from "../store/attachment-manifest.ts";
import type { Attachment } from "../store/catalog.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { forEachBounded } from "./bounded.ts";
import { addToCosignTag } from "./cosign-tag.ts";
import { addToFallback } from "./referrers.ts";
import type { Repository } from "./repository.ts";
import { uploadBlob } from "./upload.ts";

export interface TransferProgress {
  doneBytes: number;
  totalBytes: number;
  /** Bytes that went over the network. */
  movedBytes: number;
}

export interface PushOptions {
  /** The tag; without one the image is known there by its digest alone. */
  tag?: string;
  /** Other repositories of the same registry where some of the blobs may be. */
  mountFrom?: readonly string[];
  onProgress?: (progress: TransferProgress) => void;
}

export interface PushReport {
  digest: string;
  blobs: number;
  totalBytes: number;
  sentBlobs: number;
  sentBytes: number;
  /** Blobs that another repository of the registry had. */
  mountedBlobs: number;
  attachments: number;
}

const BLOBS_AT_ONCE = 4;

/**
 * Sends an image and what is attached to it: every blob that the repository has not, then the manifests. Nothing can be
 * seen there under the tag before all of it has arrived.
 */
export async function pushImage(
  store: ImageStore,
  image: StoredImage,
  repository: Repository,
  options: PushOptions = {},
): Promise<PushReport> {
  const attachments = store.catalog.attachments(image.digest);
  const push = new Push(store, repository, options, image.digest);
  const blobs = [image.manifest.config, ...image.manifest.layers];
  const signatures: Descriptor[] = [];
  for (const attachment of attachments) {
    const { config, layers } = await readAttachmentManifest(store.blobs, attachment.digest);
    blobs.push(config, ...layers);
    if (attachment.artifactType === MEDIA_TYPES.signature) signatures.push(...layers);
  }
  await push.sendBlobs(blobs);
  const manifest = await store.blobs.read(image.digest, image.manifestBytes);
  await repository.putManifest(options.tag ?? image.digest, manifest, MEDIA_TYPES.manifest);
  for (const attachment of attachments) await push.sendAttachment(attachment);
  await addToCosignTag(repository, image.digest, signatures);
  return push.report;
}

class Push {
  readonly report: PushReport;
  readonly #store: ImageStore;
  readonly #repository: Repository;
  readonly #options: PushOptions;
  #doneBytes = 0;

  constructor(store: ImageStore, repository: Repository, options: PushOptions, digest: string) {
    this.#store = store;
    this.#repository = repository;
    this.#options = options;
    this.report = {
      digest,
      blobs: 0,
      totalBytes: 0,
      sentBlobs: 0,
      sentBytes: 0,
      mountedBlobs: 0,
      attachments: 0,
    };
  }

  async sendBlobs(descriptors: readonly Descriptor[]): Promise<void> {
    const blobs = new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor]));
    this.report.blobs = blobs.size;
    for (const { size } of blobs.values()) this.report.totalBytes += size;
    await forEachBounded(blobs.values(), BLOBS_AT_ONCE, (descriptor) => this.#sendBlob(descriptor));
  }

  async sendAttachment({
    digest,
    manifestBytes,
    artifactType,
    annotations,
    subject,
  }: Attachment): Promise<void> {
    const bytes = await this.#store.blobs.read(digest, manifestBytes);
    const { knowsSubject } = await this.#repository.putManifest(digest, bytes, MEDIA_TYPES.manifest);
    this.report.attachments++;
    if (knowsSubject) return;
    const referrer = {
      mediaType: MEDIA_TYPES.manifest,
      digest,
      size: manifestBytes,
      artifactType,
      annotations,
    };
    await addToFallback(this.#repository, subject, referrer);
  }

  async #sendBlob(descriptor: Descriptor): Promise<void> {
    const { digest, size } = descriptor;
    if ((await this.#repository.blobSize(digest)) === size) return this.#advance(size, 0);
    for (const from of this.#options.mountFrom ?? []) {
      if (!(await this.#repository.mountBlob(digest, from))) continue;
      this.report.mountedBlobs++;
      return this.#advance(size, 0);
    }
    await uploadBlob(this.#repository, {
      sizeBytes: size,
      digest: () => digest,
      name: digest,
      open: (offsetBytes) => this.#store.blobs.stream(digest, offsetBytes),
      onSent: (bytes) => this.#advance(bytes, bytes),
    });
    this.report.sentBlobs++;
  }

  #advance(doneBytes: number, sentBytes: number): void {
    this.#doneBytes += doneBytes;
    this.report.sentBytes += sentBytes;
    const { totalBytes, sentBytes: movedBytes } = this.report;
    this.#options.onProgress?.({ doneBytes: this.#doneBytes, totalBytes, movedBytes });
  }
}
