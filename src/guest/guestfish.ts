import assert from "node:assert";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DoppelError, EXIT } from "../errors.ts";
import { type Answer, commandLine, GuestfishClient } from "./guestfish-client.ts";

/** A disk to look into: an NBD export on a Unix socket. */
export interface GuestDisk {
  socketPath: string;
  exportName: string;
  writable: boolean;
}

const COMMAND_MS = 600_000;
/** A script that goes through every file of a guest. */
const SCRIPT_MS = 24 * 3600 * 1000;
const ISO_LABEL = "iso";
/** The device of the `iso` that an appliance was started with. */
export const ISO_DEVICE = `/dev/disk/guestfs/${ISO_LABEL}`;
const SCRATCH_LABEL = "scratch";
/** The device of the `scratch` that an appliance was started with. */
export const SCRATCH_DEVICE = `/dev/disk/guestfs/${SCRATCH_LABEL}`;
/** Most bytes of a file that is read into memory. */
const MOST_FILE_BYTES = 512 * 1024 * 1024;
/** What one message of libguestfs holds with room to spare; guestfs(3), "PROTOCOL LIMITS". */
const ONE_MESSAGE_BYTES = 1024 * 1024;
/** Most bytes of a file that is written by commands, and of its part in one: four characters stand for a byte. */
const MOST_TEXT_BYTES = 8 * 1024;
const TEXT_PART_BYTES = 1024;

/**
 * One libguestfs appliance, driven through guestfish. Nothing that a guest holds is ever read as a command, and the guest's own
 * programs run only when a command says so.
 */
export class Guestfish implements AsyncDisposable {
  readonly #folder: string;
  readonly #client: GuestfishClient;
  readonly #keys: readonly string[];
  readonly #signal: AbortSignal | undefined;

  private constructor(
    folder: string,
    client: GuestfishClient,
    keys: readonly string[],
    signal: AbortSignal | undefined,
  ) {
    this.#folder = folder;
    this.#client = client;
    this.#keys = keys;
    this.#signal = signal;
  }

  /**
   * Starts an appliance with the disks; `keys` are for encrypted ones, `iso` is an image that is only read, `scratch` a file of ours
   * that both sides read and write. Throws `guestfs-failed`, or `program-missing` without libguestfs.
   */
  static async start(
    disks: readonly GuestDisk[],
    options: {
      useTcg: boolean;
      keys?: readonly string[];
      iso?: string;
      scratch?: string;
      signal?: AbortSignal;
    },
  ): Promise<Guestfish> {
    const keys = options.keys ?? [];
    keys.forEach(checkKey);
    const folder = await mkdtemp(join(tmpdir(), "doppel-guest-"));
    const env = {
      LC_ALL: "C",
      LIBGUESTFS_BACKEND: "direct",
      TMPDIR: folder,
      // The appliance is built once and kept where the others of this user are.
      LIBGUESTFS_CACHEDIR: "/var/tmp",
      ...(options.useTcg ? { LIBGUESTFS_BACKEND_SETTINGS: "force_tcg" } : {}),
    };
    const client = await GuestfishClient.start(join(folder, "errors"), env);
    const guestfish = new Guestfish(folder, client, keys, options.signal);
    try {
      for (const disk of disks) await guestfish.#addDisk(disk);
      if (options.iso !== undefined)
        await guestfish.run("add-drive", options.iso, "format:raw", "readonly:true", `label:${ISO_LABEL}`);
      if (options.scratch !== undefined)
        await guestfish.run("add-drive", options.scratch, "format:raw", `label:${SCRATCH_LABEL}`);
      await guestfish.run("run");
      return guestfish;
    } catch (error) {
      await guestfish[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Runs a command; returns what it prints, without the last line break. Throws `guestfs-failed`. */
  async run(command: string, ...args: string[]): Promise<string> {
    return textOf(await this.#bytes(command, ...args));
  }

  /**
   * Runs a script in the shell of the appliance, which is not the guest's: its file systems are below /sysroot, and disks may have
   * other names than commands know them by. Never with words that come from a guest, and without quotes: a backslash does. Throws
   * `guestfs-failed` when it does not end well.
   */
  async script(text: string): Promise<void> {
    // guestfish takes the argument for a list of words, drops quotes, and puts a blank between each two for the shell.
    assert(!/["'\n\t]| {2}/.test(text));
    const end = (await this.run("debug", "sh", `{ ${text}; } 2>&1 && echo done`)).trim();
    if (end === "done") return;
    throw new DoppelError("guestfs-failed", `the appliance could not go on: ${end.slice(-500)}`);
  }

  /** As `run`; undefined when the command fails. */
  async tryRun(command: string, ...args: string[]): Promise<string | undefined> {
    const { output, failure } = await this.#try(command, args);
    return failure === undefined ? textOf(output) : undefined;
  }

  /** The lines that a command prints. */
  async lines(command: string, ...args: string[]): Promise<string[]> {
    return (await this.run(command, ...args)).split("\n").filter((line) => line !== "");
  }

  /** Paths that patterns (glob(7)) stand for; a path without a wildcard stands for itself when it is there. */
  async expand(patterns: readonly string[]): Promise<string[]> {
    const found: string[] = [];
    for (const pattern of patterns) {
      if (/[*?[]/.test(pattern)) found.push(...(await this.lines("glob-expand", pattern)));
      else if ((await this.tryRun("exists", pattern)) === "true") found.push(pattern);
    }
    return found;
  }

  /** The path as it is written on a file system that takes upper and lower case for the same; undefined when it is not there. */
  async resolveCase(path: string): Promise<string | undefined> {
    let found = "";
    // Not by guestfish's own case-sensitive-path: of a folder that is not there it ends.
    for (const part of path.split("/").filter(Boolean)) {
      if ((await this.tryRun("is-dir", found || "/", "followsymlinks:true")) !== "true") return undefined;
      const names = await this.lines("ls", found || "/");
      const name =
        names.find((each) => each === part) ??
        names.find((each) => each.toLowerCase() === part.toLowerCase());
      if (name === undefined) return undefined;
      found += `/${name}`;
    }
    return found;
  }

  /** Reads a file; undefined when there is none. Throws `guestfs-failed` past 512 MiB. */
  async read(path: string): Promise<Buffer | undefined> {
    if ((await this.tryRun("is-file", path, "followsymlinks:true")) !== "true") return undefined;
    const sizeBytes = Number(await this.run("filesize", path));
    if (!(sizeBytes <= MOST_FILE_BYTES)) {
      throw new DoppelError(
        "guestfs-failed",
        `${path} in the guest has ${sizeBytes} bytes, too many to be read`,
      );
    }
    // A transfer waits for the appliance's udev before it begins, a message does not.
    if (sizeBytes <= ONE_MESSAGE_BYTES) return await this.#bytes("pread", path, String(sizeBytes), "0");
    const local = join(this.#folder, "transfer");
    await this.run("download", path, local);
    const content = await readFile(local);
    await rm(local);
    return content;
  }

  /** Reads at most a MiB of a device. Throws `guestfs-failed` when it ends before. */
  async readDevice(device: string, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    assert(lengthBytes <= ONE_MESSAGE_BYTES);
    const args = [device, String(lengthBytes), String(offsetBytes)];
    const content = await this.#bytes("pread-device", ...args);
    if (content.length === lengthBytes) return content;
    throw failed("pread-device", args, `the device ends at ${offsetBytes + content.length} bytes`);
  }

  /** Writes a file as it is now on our side; its mode stays, that of a new one is `mode`. */
  async write(path: string, content: Buffer | string, mode = 0o644): Promise<void> {
    const isNew = (await this.tryRun("exists", path)) !== "true";
    const bytes = Buffer.from(content);
    // By messages, as an upload waits like a download.
    const lines = linesThatWrite(path, bytes);
    for (const line of lines ?? []) {
      const { failure } = await this.#ask(line, COMMAND_MS);
      if (failure !== undefined) throw failed("write", [path], failure);
    }
    if (!lines) {
      const local = join(this.#folder, "transfer");
      await writeFile(local, bytes, { mode: 0o600 });
      await this.run("upload", local, path);
      await rm(local);
    }
    if (isNew) await this.run("chmod", `0${mode.toString(8)}`, path);
  }

  /** Writes behind the end of a file that is there. */
  async append(path: string, content: Buffer): Promise<void> {
    const local = join(this.#folder, "transfer");
    await writeFile(local, content, { mode: 0o600 });
    await this.run("upload-offset", local, path, await this.run("filesize", path));
    await rm(local);
  }

  /** Opens an encrypted device as /dev/mapper/NAME with one of the keys; false when none fits. */
  async openEncrypted(device: string, name: string): Promise<boolean> {
    for (const key of this.#keys)
      if ((await this.tryWithKey(key, "cryptsetup-open", device, name)) !== undefined) return true;
    return false;
  }

  /** As `tryRun`, of a command that asks for a key: it must, else the key would be read as a command. */
  async tryWithKey(key: string, command: string, ...args: string[]): Promise<string | undefined> {
    checkKey(key);
    const { output, failure } = await this.#ask(lineOf(command, args), COMMAND_MS, key);
    return failure === undefined ? textOf(output) : undefined;
  }

  /** Unmounts everything, so that all is on the disks, and ends the appliance. */
  async close(): Promise<void> {
    await this.run("umount-all");
    await this.run("sync");
    await this.run("shutdown");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end(this.#signal?.aborted === true);
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #addDisk({ socketPath, exportName, writable }: GuestDisk): Promise<void> {
    const access = writable ? [] : ["readonly:true"];
    await this.run(
      "add-drive",
      exportName,
      "format:raw",
      "protocol:nbd",
      `server:unix:${socketPath}`,
      ...access,
    );
  }

  /** Bytes that a command prints. */
  async #bytes(command: string, ...args: string[]): Promise<Buffer> {
    const { output, failure } = await this.#try(command, args);
    if (failure === undefined) return output;
    throw failed(command, args, failure);
  }

  async #try(command: string, args: readonly string[]): Promise<Answer> {
    return await this.#ask(lineOf(command, args), command === "debug" ? SCRIPT_MS : COMMAND_MS);
  }

  async #ask(line: string, timeoutMs: number, key?: string): Promise<Answer> {
    const options = { timeoutMs, signal: this.#signal, ...(key === undefined ? {} : { key }) };
    return await this.#client.ask(line, options);
  }
}

function lineOf(command: string, args: readonly string[]): string {
  const line = commandLine(command, args);
  if (line === undefined) throw failed(command, args, "its words are too long for guestfish");
  return line;
}

/** Commands that write a small text over what is there; undefined when commands cannot hold it. */
function linesThatWrite(path: string, content: Buffer): string[] | undefined {
  if (content.length > MOST_TEXT_BYTES) return undefined;
  const lines: string[] = [];
  for (let at = 0; at === 0 || at < content.length; at += TEXT_PART_BYTES) {
    const part = content.subarray(at, at + TEXT_PART_BYTES);
    const line = commandLine(at === 0 ? "write" : "write-append", [path, part]);
    if (line === undefined) return undefined;
    lines.push(line);
  }
  return lines;
}

function textOf(output: Buffer): string {
  return output.toString("utf8").replace(/\r?\n$/, "");
}

/** guestfish reads a key as a line, so that nothing secret is in a file or an argument. */
function checkKey(key: string): void {
  if (!/[\n\0]/.test(key)) return;
  throw new DoppelError("key-unusable", "a key with a line break or a zero byte in it cannot be used", {
    hint: "add a passphrase to the volume: cryptsetup luksAddKey",
    exitCode: EXIT.usage,
  });
}

function failed(command: string, args: readonly string[], why: string): DoppelError {
  return new DoppelError("guestfs-failed", `${command} failed in the guest: ${why}`, {
    details: { command, args: args.slice(0, 2) },
  });
}
