import { DoppelError } from "../errors.ts";
import type { Descriptor } from "../image/manifest.ts";
import { discard, failureOf, type HttpResponse, headerOf, networkFailure } from "./http.ts";
import { type Repository, wrongContent } from "./repository.ts";
import { Passing } from "./retry.ts";

/** What takes a blob that is being fetched; `commit` throws `blob-differs` when it has not got what was expected. */
interface Receiver {
  append(bytes: Buffer): Promise<void>;
  commit(expected: string): Promise<unknown>;
  abort(): Promise<void>;
}

/** Makes a receiver, and another one when fetching has to start anew: a store's blobs, or what only looks at them. */
export interface Destination {
  create(): Promise<Receiver>;
}

/**
 * Fetches a blob into the store, hashing it on the way; after a cut it goes on where it was. It is in the store only
 * when its size and digest are those of the descriptor; `registry-content` else.
 */
export async function downloadBlob(
  repository: Repository,
  store: Destination,
  descriptor: Descriptor,
  onReceived: (bytes: number) => void = () => {},
): Promise<void> {
  const download = new Download(repository, store, descriptor, onReceived);
  try {
    await repository.retrying(
      () => download.attempt(),
      () => download.progressed(),
    );
  } finally {
    await download.abandon();
  }
}

class Download {
  readonly #repository: Repository;
  readonly #store: Destination;
  readonly #descriptor: Descriptor;
  readonly #onReceived: (bytes: number) => void;
  #writer: Receiver | undefined;
  #receivedBytes = 0;
  #bytesAtFailure = 0;
  #spoiled = false;

  constructor(
    repository: Repository,
    store: Destination,
    descriptor: Descriptor,
    onReceived: (bytes: number) => void,
  ) {
    this.#repository = repository;
    this.#store = store;
    this.#descriptor = descriptor;
    this.#onReceived = onReceived;
  }

  async attempt(): Promise<void> {
    const { digest, size } = this.#descriptor;
    this.#writer ??= await this.#store.create();
    if (this.#receivedBytes < size) await this.#receive(this.#writer);
    try {
      await this.#writer.commit(digest);
    } catch (error) {
      if (!(error instanceof DoppelError) || error.code !== "blob-differs") throw error;
      await this.#startAgain();
      throw new Passing(
        wrongContent(`blob ${digest}`, this.#repository.registry, digest, "another digest"),
        0,
      );
    }
  }

  /** True once after more has come; not after the whole blob came and was wrong. */
  progressed(): boolean {
    const further = this.#receivedBytes > this.#bytesAtFailure && !this.#spoiled;
    this.#bytesAtFailure = this.#receivedBytes;
    return further;
  }

  async abandon(): Promise<void> {
    await this.#writer?.abort();
  }

  async #receive(writer: Receiver): Promise<void> {
    const { digest, size } = this.#descriptor;
    const headers = this.#receivedBytes > 0 ? { range: `bytes=${this.#receivedBytes}-` } : {};
    const response = await this.#repository.ask({ method: "GET", path: `blobs/${digest}`, headers });
    const skipBytes = await this.#bytesToSkip(response);
    try {
      await this.#take(response, writer, skipBytes);
    } catch (error) {
      this.#repository.signal?.throwIfAborted();
      throw error instanceof DoppelError || error instanceof Passing
        ? error
        : networkFailure(error, response.url);
    } finally {
      await discard(response);
    }
    if (this.#receivedBytes === size) return;
    throw new Passing(
      new DoppelError(
        "registry-content",
        `blob ${digest} ends after ${this.#receivedBytes} of ${size} bytes`,
      ),
    );
  }

  /** How many bytes of the body are known already: a registry may not take the Range. */
  async #bytesToSkip(response: HttpResponse): Promise<number> {
    if (response.status === 200) return this.#receivedBytes;
    const first = /^bytes (\d+)-/.exec(headerOf(response, "content-range") ?? "")?.[1];
    if (response.status === 206 && Number(first) === this.#receivedBytes) return 0;
    throw await failureOf(response, `fetching ${this.#descriptor.digest}`);
  }

  async #take(response: HttpResponse, writer: Receiver, skipBytes: number): Promise<void> {
    let toSkip = skipBytes;
    for await (const received of response.body as AsyncIterable<Buffer>) {
      const piece = received.subarray(Math.min(toSkip, received.length));
      toSkip -= received.length - piece.length;
      if (this.#receivedBytes + piece.length > this.#descriptor.size) {
        await this.#startAgain();
        const { digest, size } = this.#descriptor;
        throw new Passing(wrongContent(`blob ${digest}`, this.#repository.registry, `${size} bytes`, "more"));
      }
      await writer.append(piece);
      this.#receivedBytes += piece.length;
      this.#onReceived(piece.length);
    }
  }

  async #startAgain(): Promise<void> {
    await this.#writer?.abort();
    this.#writer = undefined;
    this.#spoiled = true;
    this.#onReceived(-this.#receivedBytes);
    this.#receivedBytes = 0;
  }
}
