import { type FileHandle, open, realpath, type stat } from "node:fs/promises";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { DoppelError, EXIT, wrapError } from "../errors.ts";
import type { ByteSource } from "../image/byte-source.ts";
import { startServer } from "../run-program.ts";
import { type DiskFormat, detectFormat, formatNamed, HEAD_BYTES, TAIL_BYTES } from "./disk-format.ts";
import { refuseExternalFiles } from "./external-files.ts";

/** Where the bytes of a disk image are: a file, or a part of one (a member of an OVA). */
export interface DiskFile {
  path: string;
  /** As the user knows it. */
  label: string;
  offsetBytes?: number;
  sizeBytes?: number;
}

export interface OpenDiskOptions {
  /** Instead of what the content says. */
  format?: string | undefined;
  /** Follow what the image names: backing files, extents, data files. */
  allowExternal: boolean;
  signal?: AbortSignal | undefined;
}

const READY_MS = 20_000;
const READY_STEP_MS = 20;
/** Connections at once: the agent's, and those of an appliance. */
const CONNECTIONS = 32;

/**
 * A disk image of any format, offered by qemu-nbd on a private socket, read-only. What the file names is not followed unless
 * that is allowed; whether the file changed meanwhile is told by `refuseChanged`.
 */
export class DiskSource implements AsyncDisposable {
  readonly label: string;
  readonly format: string;
  readonly socketPath: string;
  readonly #path: string;
  readonly #before: FileState;
  readonly #stop: () => Promise<void>;

  private constructor(
    file: DiskFile,
    format: string,
    socketPath: string,
    path: string,
    before: FileState,
    stop: () => Promise<void>,
  ) {
    this.label = file.label;
    this.format = format;
    this.socketPath = socketPath;
    this.#path = path;
    this.#before = before;
    this.#stop = stop;
  }

  /** Throws `disk-image-invalid`, `disk-image-ambiguous`, `disk-image-external`, `disk-image-busy`, or a system error. */
  static async open(file: DiskFile, socketPath: string, options: OpenDiskOptions): Promise<DiskSource> {
    const path = await realpath(file.path).catch((error: unknown) => {
      throw wrapError(error, "disk-image-invalid", `${file.label} cannot be opened`);
    });
    const handle = await open(path, "r").catch((error: unknown) => {
      throw wrapError(error, "disk-image-invalid", `${file.label} cannot be opened`);
    });
    let format: DiskFormat;
    let before: FileState;
    let isDevice: boolean;
    try {
      const found = await handle.stat();
      isDevice = found.isBlockDevice();
      if (!isDevice && !found.isFile())
        throw new DoppelError("disk-image-invalid", `${file.label} is neither a file nor a disk`);
      before = stateOf(found);
      format = await chooseFormat(file, handle, isDevice ? HEAD_BYTES : found.size, options);
    } finally {
      await handle.close();
    }
    const node = blockNode(file, path, isDevice, format.driver, options.allowExternal);
    const stop = await serve(node, socketPath, file.label, options.signal);
    return new DiskSource(file, format.name, socketPath, path, before, stop);
  }

  /** Throws `disk-image-changed` when the file was written to since it was opened. */
  async refuseChanged(): Promise<void> {
    const handle = await open(this.#path, "r");
    try {
      const now = stateOf(await handle.stat());
      if (now.sizeBytes === this.#before.sizeBytes && now.modified === this.#before.modified) return;
    } finally {
      await handle.close();
    }
    throw new DoppelError("disk-image-changed", `${this.label} was written to while it was read`, {
      hint: "stop what uses it, then import it again",
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }
}

interface FileState {
  sizeBytes: number;
  modified: number;
}

function stateOf({ size, mtimeMs }: Awaited<ReturnType<typeof stat>>): FileState {
  return { sizeBytes: Number(size), modified: Number(mtimeMs) };
}

async function chooseFormat(
  file: DiskFile,
  handle: FileHandle,
  fileBytes: number,
  options: OpenDiskOptions,
): Promise<DiskFormat> {
  const start = file.offsetBytes ?? 0;
  const sizeBytes = file.sizeBytes ?? fileBytes - start;
  const bytes: ByteSource = {
    sizeBytes,
    read: async (target, offsetBytes) => {
      if (offsetBytes + target.length > sizeBytes) throw new RangeError("it ends before");
      const { bytesRead } = await handle.read(target, 0, target.length, start + offsetBytes);
      if (bytesRead !== target.length) throw new RangeError("it ends before");
    },
  };
  const head = Buffer.alloc(Math.min(HEAD_BYTES, sizeBytes));
  const tail = Buffer.alloc(Math.min(TAIL_BYTES, sizeBytes));
  await bytes.read(head, 0);
  await bytes.read(tail, sizeBytes - tail.length);
  const format =
    options.format === undefined ? detectFormat(file.path, head, tail) : formatNamed(options.format);
  if (!options.allowExternal) await refuseExternalFiles(file.label, file.path, format, bytes);
  return format;
}

/** What qemu is to open, as a description of its own and never as a name that it would interpret. */
function blockNode(
  { offsetBytes, sizeBytes }: DiskFile,
  path: string,
  isDevice: boolean,
  driver: string,
  allowExternal: boolean,
): unknown {
  const file = { driver: isDevice ? "host_device" : "file", filename: path };
  const part =
    offsetBytes === undefined ? file : { driver: "raw", offset: offsetBytes, size: sizeBytes, file };
  const mayHaveBacking = ["qcow2", "qcow", "qed", "vmdk"].includes(driver);
  return { driver, file: part, ...(mayHaveBacking && !allowExternal ? { backing: null } : {}) };
}

/** Starts qemu-nbd and waits until it takes connections; returns what ends it. */
async function serve(
  node: unknown,
  socketPath: string,
  label: string,
  signal: AbortSignal | undefined,
): Promise<() => Promise<void>> {
  const options = ["--read-only", "--persistent", `--shared=${CONNECTIONS}`, `--socket=${socketPath}`];
  const server = startServer("qemu-nbd", [...options, `json:${JSON.stringify(node)}`]);
  server.stdin.end();
  server.stdout.resume();
  const stop = async () => {
    server.kill();
    await server.exited.catch(() => {});
  };
  let ended = false;
  const whenEnded = server.exited.then(
    () => {
      ended = true;
    },
    () => {
      ended = true;
    },
  );
  const until = performance.now() + READY_MS;
  while (!(await greets(socketPath))) {
    if (signal?.aborted) {
      await stop();
      signal.throwIfAborted();
    }
    if (ended || performance.now() > until) {
      await stop();
      await server.exited;
      throw explain(label, server.stderrTail);
    }
    await Promise.race([whenEnded, sleep(READY_STEP_MS)]);
  }
  return stop;
}

/** Whether the server greets: it listens before it has opened the image. */
async function greets(socketPath: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(socketPath);
    const end = (greeted: boolean) => {
      socket.destroy();
      resolve(greeted);
    };
    socket.once("data", () => end(true));
    socket.once("close", () => end(false));
    socket.once("error", () => end(false));
  });
}

function explain(label: string, stderr: string): DoppelError {
  const why =
    stderr
      .trim()
      .split("\n")
      .at(-1)
      ?.replace(/^qemu-nbd: /, "")
      .replace(/^Failed to blk_new_open '.*': /, "") ?? "";
  if (/Failed to get .*lock|Is another process using/.test(stderr)) {
    return new DoppelError("disk-image-busy", `${label} is in use by another process`, {
      hint: "shut the virtual machine down that runs from it",
      exitCode: EXIT.refused,
    });
  }
  return new DoppelError(
    "disk-image-invalid",
    `${label} cannot be read as a disk: ${why || "qemu-nbd ended"}`,
  );
}
