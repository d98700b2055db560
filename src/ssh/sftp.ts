import { createHash } from "node:crypto";
import type { SFTPWrapper } from "ssh2";
import { DoppelError } from "../errors.ts";

/** What every server accepts in one request (draft-ietf-secsh-filexfer-02, section 3). */
const REQUEST_BYTES = 32 * 1024;
/** Requests under way at once: hides the latency of a far host. */
const REQUESTS_IN_FLIGHT = 32;
const ENDED = "the session has ended";

type Callback<T> = (error: Error | null | undefined, value: T) => void;

/** Files of the other side. Every failure is a DoppelError `sftp-failed` with the path. */
export class SftpSession implements AsyncDisposable {
  readonly #sftp: SFTPWrapper;
  readonly #name: string;
  /** Requests without an answer. ssh2 forgets those that are made once the session has ended. */
  readonly #waiting = new Set<(error: Error) => void>();
  #ended = false;

  private constructor(sftp: SFTPWrapper, name: string) {
    this.#sftp = sftp;
    this.#name = name;
    sftp.on("error", () => {});
    sftp.on("close", () => this.#end());
  }

  /** `connectionEnded` resolves when the connection that carries the session has ended. */
  static over(sftp: SFTPWrapper, name: string, connectionEnded: Promise<void>): SftpSession {
    const session = new SftpSession(sftp, name);
    void connectionEnded.then(() => session.#end());
    return session;
  }

  /** Creates a directory that did not exist. */
  async mkdir(path: string, mode: number): Promise<void> {
    await this.#call<void>("create the directory", path, (done) => this.#sftp.mkdir(path, { mode }, done));
  }

  /** Creates a file that did not exist, with exactly this mode, whatever the umask. */
  async writeNew(path: string, content: Buffer, mode: number): Promise<void> {
    const handle = await this.#call<Buffer>("create", path, (done) =>
      this.#sftp.open(path, "wx", mode, done),
    );
    try {
      await inBatches(content.length, (offset, length) =>
        this.#call<void>("write", path, (done) =>
          this.#sftp.write(handle, content, offset, length, offset, done),
        ),
      );
      await this.#call<void>("change the mode of", path, (done) => this.#sftp.fchmod(handle, mode, done));
    } finally {
      await this.#call<void>("close", path, (done) => this.#sftp.close(handle, done));
    }
  }

  /** Reads a file of a known size back and returns its SHA-256 in hexadecimal. */
  async sha256(path: string, sizeBytes: number): Promise<string> {
    const handle = await this.#call<Buffer>("open", path, (done) => this.#sftp.open(path, "r", done));
    try {
      const content = Buffer.alloc(sizeBytes);
      await inBatches(sizeBytes, (offset, length) =>
        this.#readExactly(handle, path, content, offset, length),
      );
      return createHash("sha256").update(content).digest("hex");
    } finally {
      await this.#call<void>("close", path, (done) => this.#sftp.close(handle, done));
    }
  }

  async exists(path: string): Promise<boolean> {
    return await this.#call("look at", path, (done) => this.#sftp.lstat(path, done)).then(
      () => true,
      () => false,
    );
  }

  /** The absolute form of a path; of "." it is the user's home directory. */
  async realpath(path: string): Promise<string> {
    return this.#call<string>("resolve", path, (done) => this.#sftp.realpath(path, done));
  }

  async unlink(path: string): Promise<void> {
    await this.#call<void>("remove", path, (done) => this.#sftp.unlink(path, done));
  }

  async rmdir(path: string): Promise<void> {
    await this.#call<void>("remove the directory", path, (done) => this.#sftp.rmdir(path, done));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#sftp.end();
  }

  async #readExactly(
    handle: Buffer,
    path: string,
    into: Buffer,
    offset: number,
    length: number,
  ): Promise<void> {
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const read = await this.#call<number>("read", path, (finish) =>
        this.#sftp.read(handle, into, at, length - done, at, finish),
      );
      if (read === 0)
        throw new DoppelError("sftp-failed", `${path} on ${this.#name} ends at ${at} of ${into.length}`);
      done += read;
    }
  }

  #call<T>(what: string, path: string, start: (done: Callback<T>) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        this.#waiting.delete(fail);
        const status = "code" in error && typeof error.code === "number" ? { status: error.code } : {};
        const message = `could not ${what} ${path} on ${this.#name}: ${error.message}`;
        reject(new DoppelError("sftp-failed", message, { cause: error, details: status }));
      };
      if (this.#ended) return fail(new Error(ENDED));
      this.#waiting.add(fail);
      start((error, value) => {
        if (error) return fail(error);
        this.#waiting.delete(fail);
        resolve(value);
      });
    });
  }

  #end(): void {
    this.#ended = true;
    for (const fail of [...this.#waiting]) fail(new Error(ENDED));
  }
}

async function inBatches(
  totalBytes: number,
  request: (offset: number, length: number) => Promise<void>,
): Promise<void> {
  for (let batch = 0; batch < totalBytes; batch += REQUEST_BYTES * REQUESTS_IN_FLIGHT) {
    const requests: Promise<void>[] = [];
    const end = Math.min(totalBytes, batch + REQUEST_BYTES * REQUESTS_IN_FLIGHT);
    for (let at = batch; at < end; at += REQUEST_BYTES)
      requests.push(request(at, Math.min(REQUEST_BYTES, end - at)));
    await Promise.all(requests);
  }
}
