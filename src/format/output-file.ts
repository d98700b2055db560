import { type FileHandle, open } from "node:fs/promises";

const SYNC_EVERY_BYTES = 128 * 1024 * 1024;

/**
 * A file written at positions. What is written is pushed to the disk in the background while more comes, so that
 * the final fsync finds little left.
 */
export class OutputFile {
  readonly path: string;
  readonly #file: FileHandle;
  #unsyncedBytes = 0;
  #syncing: Promise<void> | undefined;
  #syncFailure: unknown;

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Creates the file; fails with EEXIST when it is there. */
  static async create(path: string): Promise<OutputFile> {
    return new OutputFile(path, await open(path, "wx", 0o600));
  }

  async truncate(sizeBytes: number): Promise<void> {
    await this.#file.truncate(sizeBytes);
  }

  /** Writes all of `buffer`; it may be reused once the promise is resolved. */
  async writeAt(buffer: Buffer, offsetBytes: number): Promise<void> {
    let done = 0;
    while (done < buffer.length) {
      const { bytesWritten } = await this.#file.write(buffer, done, buffer.length - done, offsetBytes + done);
      done += bytesWritten;
    }
    this.#pushToDisk(buffer.length);
  }

  /** Writes the buffers one after another. */
  async writeAllAt(buffers: readonly Buffer[], offsetBytes: number): Promise<void> {
    const total = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
    if (total === 0) return;
    const { bytesWritten } = await this.#file.writev(buffers, offsetBytes);
    this.#pushToDisk(bytesWritten);
    if (bytesWritten === total) return;
    await this.writeAt(Buffer.concat(buffers).subarray(bytesWritten), offsetBytes + bytesWritten);
  }

  /** Makes everything durable. */
  async sync(): Promise<void> {
    await this.#syncing;
    if (this.#syncFailure !== undefined) throw this.#syncFailure;
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#syncing;
    await this.#file.close();
  }

  #pushToDisk(bytes: number): void {
    this.#unsyncedBytes += bytes;
    if (this.#unsyncedBytes < SYNC_EVERY_BYTES || this.#syncing) return;
    this.#unsyncedBytes = 0;
    this.#syncing = this.#file
      .datasync()
      .catch((error: unknown) => {
        this.#syncFailure ??= error;
      })
      .finally(() => {
        this.#syncing = undefined;
      });
  }
}
