import { z } from "zod";
import { DoppelError } from "../errors.ts";
import { MAX_JSON_BLOB_BYTES, parseImageConfig } from "../image/config.ts";
import {
  type Descriptor,
  type Manifest,
  MEDIA_TYPES,
  parseAttachmentManifest,
  parseManifest,
} from "../image/manifest.ts";
import type { Reference } from "../image/reference.ts";
import { parseJson } from "../parse-json.ts";
import { attachmentOf } from "../store/attachment-manifest.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { forEachBounded } from "./bounded.ts";
import { downloadBlob } from "./download.ts";
import type { TransferProgress } from "./push.ts";
import { listReferrers } from "./referrers.ts";
import { type RemoteManifest, type Repository, wrongContent } from "./repository.ts";

export interface PullOptions {
  onProgress?: (progress: TransferProgress) => void;
}

export interface PullReport {
  digest: string;
  blobs: number;
  totalBytes: number;
  receivedBlobs: number;
  receivedBytes: number;
  attachments: number;
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
  await pull.fetch(manifest.layers);
  await store.blobs.put(found.bytes);
  const image = await store.adoptImage(local, found.digest);
  await pull.fetchAttachments(image);
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
    this.report = { digest, blobs: 0, totalBytes: 0, receivedBlobs: 0, receivedBytes: 0, attachments: 0 };
  }

  async fetch(descriptors: readonly Descriptor[]): Promise<void> {
    const blobs = new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor]));
    this.report.blobs += blobs.size;
    for (const { size } of blobs.values()) this.report.totalBytes += size;
    await forEachBounded(blobs.values(), BLOBS_AT_ONCE, (descriptor) => this.#fetchBlob(descriptor));
  }

  /** What is attached to the image there and not here. What is no attachment of ours is left where it is. */
  async fetchAttachments(image: StoredImage): Promise<void> {
    const here = new Set(this.#store.catalog.attachments(image.digest).map(({ digest }) => digest));
    for (const { digest, mediaType } of await listReferrers(this.#repository, image.digest))
      if (mediaType === MEDIA_TYPES.manifest && !here.has(digest)) await this.#fetchAttachment(image, digest);
  }

  async #fetchAttachment(image: StoredImage, digest: string): Promise<void> {
    const found = await this.#repository.manifest(digest);
    if (!found) return;
    const manifest = parseAttachmentManifest(found.bytes, digest);
    if (manifest.subject.digest !== image.digest)
      throw wrongContent(
        `the subject of ${digest}`,
        this.#repository.registry,
        image.digest,
        manifest.subject.digest,
      );
    await this.fetch([manifest.config, ...manifest.layers]);
    await this.#store.blobs.put(found.bytes);
    this.#store.addAttachment(attachmentOf(manifest, digest, found.bytes.length));
    this.report.attachments++;
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
