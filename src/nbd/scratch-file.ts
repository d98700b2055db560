import { type FileHandle, open, rm } from "node:fs/promises";
import { temporaryName } from "../durable-file.ts";

/** A sparse file without a name: whatever ends the process, its bytes do not stay. */
export class ScratchFile implements AsyncDisposable {
  readonly #file: FileHandle;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Makes it in `folder`, which needs room for what will be written. */
  static async create(folder: string): Promise<ScratchFile> {
    const path = temporaryName(`${folder}/scratch`);
    const file = await open(path, "wx+", 0o600);
    // Garbage collection may have been quicker.
    await rm(path, { force: true });
    return new ScratchFile(file);
  }

  /** Fills `target` from `offsetBytes`; what was never written is zeros. */
  async read(target: Buffer, offsetBytes: number): Promise<void> {
    let done = 0;
    while (done < target.length) {
      const { bytesRead } = await this.#file.read(target, done, target.length - done, offsetBytes + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    target.fill(0, done);
  }

  async write(data: Buffer, offsetBytes: number): Promise<void> {
    let done = 0;
    while (done < data.length) {
      const { bytesWritten } = await this.#file.write(data, done, data.length - done, offsetBytes + done);
      done += bytesWritten;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}
