import assert from "node:assert";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DoppelError, EXIT } from "../errors.ts";
import { runProgram } from "../run-program.ts";
import { commandLine, GuestfishClient } from "./guestfish-client.ts";

/** A disk to look into: an NBD export on a Unix socket. */
export interface GuestDisk {
  socketPath: string;
  exportName: string;
  writable: boolean;
}

const START_MS = 300_000;
const COMMAND_MS = 600_000;
const EXIT_MS = 60_000;
/** A script that goes through every file of a guest. */
const SCRIPT_MS = 24 * 3600 * 1000;
/** Encrypted devices for which keys are held ready. */
const MOST_DEVICES = 64;
const PIPE_BYTES = 60_000;
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

/** What a command printed, and why it failed if it did. */
interface Answer {
  output: Buffer;
  failure?: string;
}

/**
 * One libguestfs appliance, driven through `guestfish --remote`. Nothing that a guest holds is ever read as a command, and the
 * guest's own programs run only when a command says so.
 */
export class Guestfish implements AsyncDisposable {
  readonly #folder: string;
  readonly #env: Record<string, string>;
  readonly #pid: string;
  readonly #signal: AbortSignal | undefined;
  readonly #keyCount: number;
  readonly #client: GuestfishClient;
  /** How much of the server's errors belongs to earlier commands. */
  #errorsSeen = 0;

  private constructor(
    folder: string,
    env: Record<string, string>,
    pid: string,
    signal: AbortSignal | undefined,
    keyCount: number,
  ) {
    this.#folder = folder;
    this.#env = env;
    this.#pid = pid;
    this.#signal = signal;
    this.#keyCount = keyCount;
    this.#client = new GuestfishClient(pid, env);
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
    const folder = await mkdtemp(join(tmpdir(), "doppel-guest-"));
    const env = {
      LC_ALL: "C",
      LIBGUESTFS_BACKEND: "direct",
      TMPDIR: folder,
      // The appliance is built once and kept where the others of this user are.
      LIBGUESTFS_CACHEDIR: "/var/tmp",
      ...(options.useTcg ? { LIBGUESTFS_BACKEND_SETTINGS: "force_tcg" } : {}),
    };
    const errors = await open(join(folder, "errors"), "ax", 0o600);
    try {
      const listening = await runProgram("guestfish", ["--listen", "--keys-from-stdin"], {
        env,
        input: keyLines(keys),
        timeoutMs: START_MS,
        stderrTo: errors,
      });
      const pid = /GUESTFISH_PID=(\d+)/.exec(listening.stdout)?.[1];
      if (!pid) throw new DoppelError("guestfs-failed", "guestfish does not listen");
      const guestfish = new Guestfish(folder, env, pid, options.signal, keys.length);
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
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    } finally {
      await errors.close();
    }
  }

  /** Runs a command; returns what it prints, without the last line break. Throws `guestfs-failed`. */
  async run(command: string, ...args: string[]): Promise<string> {
    const { output, failure } = await this.#remote(command, args);
    if (failure === undefined) return textOf(output);
    throw failed(command, args, failure);
  }

  /**
   * Runs a script in the shell of the appliance, which is not the guest's: its file systems are below /sysroot. Never with words
   * that come from a guest, and without quotes: a backslash does. Throws `guestfs-failed` when it does not end well.
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
    const { output, failure } = await this.#remote(command, args);
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

  /**
   * Opens an encrypted device as /dev/mapper/NAME with one of the keys; false when none fits. For at most 64
   * devices in the life of an appliance.
   */
  async openEncrypted(device: string, name: string): Promise<boolean> {
    let opened = false;
    // Every key is asked for, so that the next device meets the first one again.
    for (let key = 0; key < this.#keyCount; key++) {
      const result = await this.tryRun("cryptsetup-open", device, opened ? `${name}-again` : name);
      opened ||= result !== undefined;
    }
    return opened;
  }

  /** Unmounts everything, so that all is on the disks, and ends the appliance. */
  async close(): Promise<void> {
    await this.run("umount-all");
    await this.run("sync");
    await this.run("shutdown");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.end();
    const words = [`--remote=${this.#pid}`, "--", "exit"];
    // It hears when its command has ended, which after an abort may be long.
    const end = this.#signal?.aborted ? undefined : await this.#alone(words, EXIT_MS).catch(() => undefined);
    if (end === undefined) killProcess(Number(this.#pid));
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
    const { output, failure } = await this.#remote(command, args);
    if (failure === undefined) return output;
    throw failed(command, args, failure);
  }

  /** Asks the server. Only a command that is too long for a line is on the command line of a process. */
  async #remote(command: string, args: readonly string[]): Promise<Answer> {
    const timeoutMs = command === "debug" ? SCRIPT_MS : COMMAND_MS;
    const line = commandLine(command, args);
    if (line !== undefined) return await this.#ask(line, timeoutMs);
    const words = [`--remote=${this.#pid}`, "--", `-${command}`, ...args];
    return await this.#withFailure(await this.#alone(words, timeoutMs));
  }

  async #ask(line: string, timeoutMs: number): Promise<Answer> {
    return await this.#withFailure(await this.#client.ask(line, { timeoutMs, signal: this.#signal }));
  }

  /** That a command failed is seen by what the server writes to its standard error. */
  async #withFailure(output: Buffer): Promise<Answer> {
    const errors = await readFile(join(this.#folder, "errors"), "utf8");
    const fresh = errors.slice(this.#errorsSeen);
    this.#errorsSeen = errors.length;
    const failed = fresh.split("\n").some((text) => text !== "" && !/^(?:libguestfs: )?warning:/.test(text));
    return failed ? { output, failure: explain(fresh) } : { output };
  }

  /** Asks the server by a process for this command alone. */
  async #alone(words: string[], timeoutMs: number): Promise<Buffer> {
    const outputFile = join(this.#folder, "output");
    await runProgram("guestfish", words, {
      env: this.#env,
      timeoutMs,
      outputFile,
      ...(this.#signal === undefined ? {} : { signal: this.#signal }),
    });
    return await readFile(outputFile);
  }
}

/** Commands that write a small text over what is there; undefined when commands cannot hold it. */
function linesThatWrite(path: string, content: Buffer): string[] | undefined {
  if (content.length > MOST_TEXT_BYTES || content.includes(0)) return undefined;
  const lines: string[] = [];
  for (let at = 0; at === 0 || at < content.length; at += TEXT_PART_BYTES) {
    const part = content.subarray(at, at + TEXT_PART_BYTES);
    const line = commandLine(at === 0 ? "write" : "write-append", [path, part]);
    if (line === undefined) return undefined;
    lines.push(line);
  }
  return lines;
}

function killProcess(pid: number): void {
  try {
    process.kill(pid, "SIGTERM");
  } catch {
    // It has ended.
  }
}

function textOf(output: Buffer): string {
  return output.toString("utf8").replace(/\r?\n$/, "");
}

/**
 * What guestfish reads when it asks for a key: a line each time, the keys in turn. A pipe holds this much without a
 * reader, so that nothing secret is in a file or an argument.
 */
function keyLines(keys: readonly string[]): string {
  for (const key of keys) {
    if (/[\n\0]/.test(key)) {
      throw new DoppelError("key-unusable", "a key with a line break or a zero byte in it cannot be used", {
        hint: "add a passphrase to the volume: cryptsetup luksAddKey",
        exitCode: EXIT.usage,
      });
    }
  }
  const round = keys.map((key) => `${key}\n`).join("");
  return round.repeat(Math.min(MOST_DEVICES, Math.floor(PIPE_BYTES / Math.max(1, round.length))));
}

function failed(command: string, args: readonly string[], why: string): DoppelError {
  return new DoppelError("guestfs-failed", `${command} failed in the guest: ${why}`, {
    details: { command, args: args.slice(0, 2) },
  });
}

function explain(errors: string): string {
  return errors
    .replace(/^libguestfs: error: /gm, "")
    .trim()
    .split("\n")
    .slice(-3)
    .join("; ");
}
