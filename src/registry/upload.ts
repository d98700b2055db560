import type { Readable } from "node:stream";
import { DoppelError } from "../errors.ts";
import { discard, failureOf, type HttpResponse, headerOf, networkFailure, resolveLocation } from "./http.ts";
import type { Repository } from "./repository.ts";
import { Passing } from "./retry.ts";

export interface BlobToSend {
  sizeBytes: number;
  /** Undefined as long as a blob that is made while it is sent was not read to its end. */
  digest: () => string | undefined;
  /** What it is called in errors. */
  name: string;
  /** A stream of the blob from a byte on; of the same bytes each time. */
  open: (offsetBytes: number) => Readable;
  /** Called with each number of bytes that went out; negative when they have to go out again. */
  onSent?: (bytes: number) => void;
}

/** A blob up to this size goes in the one request that also ends its upload. */
const MONOLITHIC_BYTES = 1024 * 1024;

/**
 * Sends a blob (OCI distribution specification, "Pushing a blob in chunks"): one stream; after a cut, what the registry
 * has not yet got, in the same upload session.
 */
export async function uploadBlob(repository: Repository, blob: BlobToSend): Promise<void> {
  const upload = new Upload(repository, blob);
  await repository.retrying(
    () => upload.attempt(),
    () => upload.progressed(),
  );
}

class Upload {
  readonly #repository: Repository;
  readonly #blob: BlobToSend;
  #session: URL | undefined;
  #offsetBytes = 0;
  #offsetAtFailure = 0;
  #resumed = false;
  #reportedBytes = 0;

  constructor(repository: Repository, blob: BlobToSend) {
    this.#repository = repository;
    this.#blob = blob;
  }

  async attempt(): Promise<void> {
    if (this.#session && (await this.#resume())) return;
    if (!this.#session) await this.#start();
    const { sizeBytes, digest } = this.#blob;
    const monolithic = sizeBytes <= MONOLITHIC_BYTES && this.#offsetBytes === 0 && digest() !== undefined;
    if (!monolithic && this.#offsetBytes < sizeBytes) await this.#sendRest();
    await this.#finish(monolithic);
  }

  /** True once after the registry has got more of the blob. */
  progressed(): boolean {
    const further = this.#offsetBytes > this.#offsetAtFailure;
    this.#offsetAtFailure = this.#offsetBytes;
    return further;
  }

  async #start(): Promise<void> {
    const headers = { "content-length": "0" };
    const response = await this.#repository.ask({ method: "POST", path: "blobs/uploads/", headers });
    if (response.status !== 202) throw await failureOf(response, this.#doing());
    this.#follow(response);
    await discard(response);
    this.#setOffset(0);
  }

  /** Asks how far the upload got. True when the blob is there already; a session that is gone is started anew. */
  async #resume(): Promise<boolean> {
    const response = await this.#repository.ask({ method: "GET", path: this.#session ?? "" });
    await discard(response);
    const end = /^0-(\d+)$/.exec(headerOf(response, "range") ?? "")?.[1];
    // Of nothing and of one byte a registry says the same, "0-0".
    const received = end === undefined || end === "0" ? 0 : Number(end) + 1;
    if (response.status === 204 && received > 0 && received <= this.#blob.sizeBytes) {
      this.#follow(response);
      this.#setOffset(received);
      this.#resumed = true;
      return false;
    }
    this.#session = undefined;
    this.#setOffset(0);
    const { sizeBytes } = this.#blob;
    const digest = this.#blob.digest();
    if (digest === undefined || (await this.#repository.blobSize(digest)) !== sizeBytes) return false;
    this.#setOffset(sizeBytes);
    return true;
  }

  async #sendRest(): Promise<void> {
    const { sizeBytes } = this.#blob;
    const first = this.#offsetBytes;
    const response = await this.#sendBody("PATCH", this.#session ?? new URL("about:blank"), first, {
      "content-range": `${first}-${sizeBytes - 1}`,
    });
    // Whatever else it says, the session knows how much it has.
    if (response.status === 416) {
      await discard(response);
      throw new Passing(
        new DoppelError("registry-failed", `${this.#doing()}: the registry is at another byte`),
        0,
      );
    }
    if (response.status !== 202 && response.status !== 204) throw await failureOf(response, this.#doing());
    this.#follow(response);
    await discard(response);
    this.#setOffset(sizeBytes);
  }

  async #finish(monolithic: boolean): Promise<void> {
    const url = new URL(this.#session ?? "about:blank");
    url.searchParams.set("digest", this.#requireDigest());
    const response = monolithic
      ? await this.#sendBody("PUT", url, 0, {})
      : await this.#repository.ask({ method: "PUT", path: url, headers: { "content-length": "0" } });
    if (response.status === 201 || response.status === 204) {
      await discard(response);
      this.#setOffset(this.#blob.sizeBytes);
      return;
    }
    const failure = await failureOf(response, this.#doing());
    if (response.status !== 400 && response.status !== 416) throw failure;
    this.#session = undefined;
    // The pieces did not fit together; sent in one go they must.
    if (this.#resumed) {
      this.#resumed = false;
      throw new Passing(failure instanceof Passing ? failure.failure : failure, 0);
    }
    throw failure;
  }

  async #sendBody(
    method: "PATCH" | "PUT",
    url: URL,
    offsetBytes: number,
    more: Record<string, string>,
  ): Promise<HttpResponse> {
    const body = this.#blob.open(offsetBytes);
    body.on("data", (piece: Buffer) => this.#report(piece.length)).pause();
    const headers = {
      "content-type": "application/octet-stream",
      "content-length": String(this.#blob.sizeBytes - offsetBytes),
      ...more,
    };
    try {
      return await this.#repository.ask({ method, path: url, headers, body });
    } catch (error) {
      if (error instanceof Passing || error instanceof DoppelError) throw error;
      throw networkFailure(error, url);
    } finally {
      body.destroy();
    }
  }

  /** The registry has all bytes, but they were not all made in one go: from the start, then. */
  #requireDigest(): string {
    const digest = this.#blob.digest();
    if (digest !== undefined) return digest;
    this.#session = undefined;
    throw new Passing(new DoppelError("registry-failed", `${this.#doing()}: its digest is not known yet`), 0);
  }

  #follow(response: HttpResponse): void {
    const location = headerOf(response, "location");
    if (location !== undefined) this.#session = resolveLocation(location, response.url);
    if (this.#session) return;
    throw new DoppelError("registry-answer", `${this.#doing()}: ${response.url.host} does not say where to`);
  }

  #setOffset(bytes: number): void {
    this.#offsetBytes = bytes;
    this.#report(bytes - this.#reportedBytes);
  }

  #report(bytes: number): void {
    this.#reportedBytes += bytes;
    if (bytes !== 0) this.#blob.onSent?.(bytes);
  }

  #doing(): string {
    return `sending ${this.#blob.name}`;
  }
}
