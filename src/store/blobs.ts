import { createHash, randomBytes } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import { type FileHandle, open, rename, rm, stat, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Readable } from "node:stream";
import { makePrivateFolder, syncFolder } from "../durable-file.ts";
import { DoppelError, systemErrorCode } from "../errors.ts";
import type { OpenBlob } from "../image/disk-reader.ts";
import { formatBytes } from "../units.ts";
import { Quarantine } from "./quarantine.ts";

/** Temporary blobs are named `upload-PID-RANDOM`, so that garbage collection can tell whose they are. */
export const UPLOAD_NAME = /^upload-(\d+)-[0-9a-f]+$/;

const STREAM_PIECE_BYTES = 1024 * 1024;

/** Garbage collection may take a blob away between two looks; hardly twice. */
const MOST_LOOKS = 3;

const DIGEST = /^sha256:([0-9a-f]{64})$/;

/**
 * The blobs of an OCI image layout: `blobs/sha256/HEX`, each written under a temporary name first. One that was taken away as
 * garbage and is wanted again comes back to life.
 */
export class BlobStore {
  readonly folder: string;
  readonly quarantine: Quarantine;
  readonly #uploads: string;
  readonly #onWork: () => void;

  private constructor(layout: string, onWork: () => void) {
    this.folder = join(layout, "blobs", "sha256");
    this.#uploads = join(layout, "uploads");
    this.quarantine = new Quarantine(layout, this.folder);
    this.#onWork = onWork;
  }

  /** `onWork` is called before a blob is made or looked for that perhaps no image names. */
  static async open(layout: string, onWork: () => void = () => {}): Promise<BlobStore> {
    const store = new BlobStore(layout, onWork);
    await makePrivateFolder(store.folder);
    await makePrivateFolder(store.#uploads);
    return store;
  }

  /** Where temporary blobs lie. */
  get uploads(): string {
    return this.#uploads;
  }

  /** The file of a blob. A digest from outside that is not one is refused: it becomes part of a path. */
  pathOf(digest: string): string {
    const hex = DIGEST.exec(digest)?.[1];
    if (hex === undefined) throw new DoppelError("digest-invalid", `'${digest}' is not a SHA-256 digest`);
    return join(this.folder, hex);
  }

  async create(): Promise<BlobWriter> {
    this.#onWork();
    const path = join(this.#uploads, `upload-${process.pid}-${randomBytes(8).toString("hex")}`);
    try {
      return new BlobWriter(this, path, await open(path, "wx", 0o600));
    } catch (error) {
      throw await explainWriteError(error, this.#uploads);
    }
  }

  /** Stores a small blob. */
  async put(content: Buffer): Promise<{ digest: string; sizeBytes: number }> {
    const writer = await this.create();
    try {
      await writer.append(content);
      return await writer.commit();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }

  /** Size in bytes, or undefined when the blob is not here. One that is here can be relied on until the store is closed. */
  async size(digest: string): Promise<number | undefined> {
    this.#onWork();
    const path = this.pathOf(digest);
    return await this.#withRestored(digest, async () => (await stat(path)).size);
  }

  /** Bytes of a blob that lies in its place; inside a transaction of the catalog. */
  sizeNow(digest: string): number | undefined {
    return statSync(this.pathOf(digest), { throwIfNoEntry: false })?.size;
  }

  /** Brings a blob back out of quarantine; false when it is not there. `quarantine.sync` makes it durable. */
  restore(digest: string): boolean {
    return this.quarantine.restore(basename(this.pathOf(digest)));
  }

  /** Opens a blob for reading; `blob-missing` when it is not here. */
  async openBlob(digest: string): Promise<OpenBlob> {
    const path = this.pathOf(digest);
    const file = await this.#withRestored(digest, () => open(path, "r"));
    if (!file) {
      throw new DoppelError("blob-missing", `blob ${digest} is not in the store`, {
        hint: "run 'doppel images verify' on the image to see what it hurts",
      });
    }
    const { size } = await file.stat();
    return {
      sizeBytes: size,
      read: (target, offsetBytes) => readFully(file, target, offsetBytes, digest),
      [Symbol.asyncDispose]: () => file.close(),
    };
  }

  /** A stream of a blob from a byte on. */
  stream(digest: string, offsetBytes = 0): Readable {
    if (this.sizeNow(digest) === undefined) this.restore(digest);
    return createReadStream(this.pathOf(digest), { start: offsetBytes, highWaterMark: STREAM_PIECE_BYTES });
  }

  /** Reads a whole small blob; `blob-too-large` above `mostBytes`. */
  async read(digest: string, mostBytes: number): Promise<Buffer> {
    await using blob = await this.openBlob(digest);
    if (blob.sizeBytes > mostBytes) {
      throw new DoppelError(
        "blob-too-large",
        `blob ${digest} has ${blob.sizeBytes} bytes, more than ${mostBytes}`,
      );
    }
    const content = Buffer.allocUnsafe(blob.sizeBytes);
    await blob.read(content, 0);
    return content;
  }

  /** Does something to a blob's file, once more after it was brought back; undefined when it is nowhere. */
  async #withRestored<T>(digest: string, look: () => Promise<T>): Promise<T | undefined> {
    for (let attempt = 0; attempt < MOST_LOOKS; attempt++) {
      try {
        return await look();
      } catch (error) {
        if (systemErrorCode(error) !== "ENOENT") throw error;
        // Where it is not in quarantine, either, somebody may just have brought it back.
        this.restore(digest);
      }
    }
    return undefined;
  }
}

async function readFully(
  file: FileHandle,
  target: Buffer,
  offsetBytes: number,
  digest: string,
): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, offsetBytes + done);
    if (bytesRead === 0) {
      throw new DoppelError(
        "blob-truncated",
        `blob ${digest} ends at byte ${offsetBytes + done}, before byte ${offsetBytes + target.length}`,
        { hint: "run 'doppel images verify' on the image to see what it hurts" },
      );
    }
    done += bytesRead;
  }
}

/** A blob being written: hashed while it is written, visible only once committed. */
export class BlobWriter implements AsyncDisposable {
  readonly #store: BlobStore;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #hash = createHash("sha256");
  #sizeBytes = 0;
  #open = true;

  constructor(store: BlobStore, path: string, file: FileHandle) {
    this.#store = store;
    this.#path = path;
    this.#file = file;
  }

  /** Appends; the buffer may be reused once the promise is resolved. */
  async append(bytes: Buffer): Promise<void> {
    try {
      const written = writeFully(this.#file, bytes, this.#sizeBytes);
      this.#hash.update(bytes);
      this.#sizeBytes += bytes.length;
      await written;
    } catch (error) {
      throw await explainWriteError(error, this.#store.folder);
    }
  }

  /** The digest of what was appended so far. */
  digest(): string {
    return `sha256:${this.#hash.copy().digest("hex")}`;
  }

  /**
   * Makes the blob durable under its digest; a blob that is there already is kept. Where another digest was `expected`,
   * nothing is kept: `blob-differs`.
   */
  async commit(expected?: string): Promise<{ digest: string; sizeBytes: number }> {
    const digest = this.digest();
    if (expected !== undefined && digest !== expected) {
      await this.abort();
      throw new DoppelError("blob-differs", `what was written has the digest ${digest}, not ${expected}`);
    }
    try {
      await this.#file.sync();
      await this.#close();
      await rename(this.#path, this.#store.pathOf(digest));
      await syncFolder(this.#store.folder);
    } catch (error) {
      throw await explainWriteError(error, this.#store.folder);
    }
    return { digest, sizeBytes: this.#sizeBytes };
  }

  /** Drops what was written; harmless after `commit`. */
  async abort(): Promise<void> {
    await this.#close();
    await rm(this.#path, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.abort();
  }

  async #close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#file.close();
  }
}

async function writeFully(file: FileHandle, bytes: Buffer, offsetBytes: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offsetBytes + done);
    done += bytesWritten;
  }
}

/** A full disk in words; anything else as it is. */
export async function explainWriteError(error: unknown, folder: string): Promise<unknown> {
  const code = systemErrorCode(error);
  if (code !== "ENOSPC" && code !== "EDQUOT") return error;
  const space = await statfs(folder).catch(() => undefined);
  const free = space === undefined ? "" : `, ${formatBytes(space.bavail * space.bsize)} free`;
  return new DoppelError(code, `no space left for ${folder}${free}`, {
    hint: "free space there, or set DOPPEL_HOME to a larger disk; nothing half-written was kept",
    cause: error,
  });
}
