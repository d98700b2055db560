import { DoppelError } from "../errors.ts";
import type { OpenBlob } from "../image/disk-reader.ts";
import type { Descriptor } from "../image/manifest.ts";
import type { BlobSource, TakePiece } from "../store/blob-source.ts";
import { downloadBlob } from "./download.ts";
import { discard, failureOf, headerOf, networkFailure } from "./http.ts";
import type { Repository } from "./repository.ts";
import { Passing } from "./retry.ts";

/** Read at once by who goes on where it stopped. */
const READ_AHEAD_BYTES = 1024 * 1024;

/** The blobs of a repository, read where they are: nothing is kept. */
export class RemoteBlobs implements BlobSource {
  readonly #repository: Repository;
  readonly #sizes = new Map<string, number>();

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  async openBlob({ digest }: Descriptor): Promise<OpenBlob> {
    const sizeBytes = this.#sizes.get(digest) ?? (await this.#repository.blobSize(digest));
    if (sizeBytes === undefined || !Number.isSafeInteger(sizeBytes))
      throw new DoppelError("blob-missing", `blob ${digest} is not in ${this.#repository.registry}`);
    this.#sizes.set(digest, sizeBytes);
    return new RemoteBlob(this.#repository, digest, sizeBytes);
  }

  async readAll(descriptor: Descriptor, begin: () => TakePiece): Promise<void> {
    const create = async () => ({ append: begin(), commit: async () => {}, abort: async () => {} });
    await downloadBlob(this.#repository, { create }, descriptor);
  }
}

/** Reads ranges of a blob by Range requests. */
class RemoteBlob implements OpenBlob {
  readonly sizeBytes: number;
  readonly #repository: Repository;
  readonly #digest: string;
  #window: { offsetBytes: number; bytes: Buffer } = { offsetBytes: 0, bytes: Buffer.alloc(0) };

  constructor(repository: Repository, digest: string, sizeBytes: number) {
    this.#repository = repository;
    this.#digest = digest;
    this.sizeBytes = sizeBytes;
  }

  async read(target: Buffer, offsetBytes: number): Promise<void> {
    if (offsetBytes + target.length > this.sizeBytes)
      throw new DoppelError("blob-truncated", `blob ${this.#digest} ends at byte ${this.sizeBytes}`);
    const windowEnd = this.#window.offsetBytes + this.#window.bytes.length;
    const inside = offsetBytes >= this.#window.offsetBytes && offsetBytes + target.length <= windowEnd;
    if (!inside) {
      // Who reads on from within the window wants the rest, too.
      const ahead = offsetBytes > this.#window.offsetBytes && offsetBytes <= windowEnd;
      const wanted = Math.max(target.length, ahead ? READ_AHEAD_BYTES : 0);
      const length = Math.min(wanted, this.sizeBytes - offsetBytes);
      this.#window = { offsetBytes, bytes: await this.#fetch(offsetBytes, length) };
    }
    this.#window.bytes.copy(target, 0, offsetBytes - this.#window.offsetBytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #fetch(offsetBytes: number, length: number): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    return await this.#repository.retrying(async () => {
      const range = `bytes=${offsetBytes}-${offsetBytes + length - 1}`;
      const ask = { method: "GET", path: `blobs/${this.#digest}`, headers: { range } } as const;
      const response = await this.#repository.ask(ask);
      const first = /^bytes (\d+)-/.exec(headerOf(response, "content-range") ?? "")?.[1];
      const partial = response.status === 206 && Number(first) === offsetBytes;
      // A registry may not know ranges, and send all of it.
      if (!partial && response.status !== 200) throw await failureOf(response, `reading ${this.#digest}`);
      try {
        return await take(response.body as AsyncIterable<Buffer>, partial ? 0 : offsetBytes, length);
      } catch (error) {
        this.#repository.signal?.throwIfAborted();
        throw error instanceof Passing ? error : networkFailure(error, response.url);
      } finally {
        await discard(response);
      }
    });
  }
}

/** `length` bytes of a body, from a byte on; what comes after is not read. */
async function take(body: AsyncIterable<Buffer>, skipBytes: number, length: number): Promise<Buffer> {
  const found = Buffer.allocUnsafe(length);
  let at = -skipBytes;
  for await (const piece of body) {
    piece.copy(found, Math.max(at, 0), Math.min(Math.max(-at, 0), piece.length));
    at += piece.length;
    if (at >= length) return found;
  }
  throw new Passing(new DoppelError("registry-content", `the answer ends after ${at} of ${length} bytes`));
}
