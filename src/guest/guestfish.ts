import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DoppelError } from "../errors.ts";
import { type RunResult, runProgram } from "../run-program.ts";

/** A disk to look into: an NBD export on a Unix socket. */
export interface GuestDisk {
  socketPath: string;
  exportName: string;
  writable: boolean;
}

const START_MS = 300_000;
const COMMAND_MS = 600_000;
/** Most bytes of a file that is read into memory. */
const MOST_FILE_BYTES = 512 * 1024 * 1024;

/**
 * One libguestfs appliance, driven through `guestfish --remote`: each command is an argument array, so that nothing that a
 * guest holds is ever read as a command. The guest's own programs run only when a command says so.
 */
export class Guestfish implements AsyncDisposable {
  readonly #folder: string;
  readonly #env: Record<string, string>;
  readonly #pid: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(
    folder: string,
    env: Record<string, string>,
    pid: string,
    signal: AbortSignal | undefined,
  ) {
    this.#folder = folder;
    this.#env = env;
    this.#pid = pid;
    this.#signal = signal;
  }

  /** Starts an appliance with the disks. Throws `guestfs-failed`, or `program-missing` without libguestfs. */
  static async start(
    disks: readonly GuestDisk[],
    options: { useTcg: boolean; signal?: AbortSignal },
  ): Promise<Guestfish> {
    const folder = await mkdtemp(join(tmpdir(), "doppel-guest-"));
    const env = {
      LC_ALL: "C",
      LIBGUESTFS_BACKEND: "direct",
      TMPDIR: folder,
      // The appliance is built once and kept where the others of this user are.
      LIBGUESTFS_CACHEDIR: "/var/tmp",
      ...(options.useTcg ? { LIBGUESTFS_BACKEND_SETTINGS: "force_tcg" } : {}),
    };
    try {
      const listening = await runProgram("guestfish", ["--listen"], {
        env,
        timeoutMs: START_MS,
        ignoreStderr: true,
      });
      const pid = /GUESTFISH_PID=(\d+)/.exec(listening.stdout)?.[1];
      if (!pid) throw new DoppelError("guestfs-failed", "guestfish does not listen");
      const guestfish = new Guestfish(folder, env, pid, options.signal);
      try {
        for (const disk of disks) await guestfish.#addDisk(disk);
        await guestfish.run("run");
        return guestfish;
      } catch (error) {
        await guestfish[Symbol.asyncDispose]();
        throw error;
      }
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Runs a command; returns what it prints, without the last line break. Throws `guestfs-failed`. */
  async run(command: string, ...args: string[]): Promise<string> {
    const result = await this.#remote(command, args);
    if (result.exitCode === 0) return result.stdout;
    throw new DoppelError("guestfs-failed", `${command} failed in the guest: ${explain(result)}`, {
      details: { command, args: args.slice(0, 2) },
    });
  }

  /** As `run`; undefined when the command fails. */
  async tryRun(command: string, ...args: string[]): Promise<string | undefined> {
    const result = await this.#remote(command, args);
    return result.exitCode === 0 ? result.stdout : undefined;
  }

  /** The lines that a command prints. */
  async lines(command: string, ...args: string[]): Promise<string[]> {
    return (await this.run(command, ...args)).split("\n").filter((line) => line !== "");
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
    const local = join(this.#folder, "transfer");
    await this.run("download", path, local);
    const content = await readFile(local);
    await rm(local);
    return content;
  }

  /** Writes a file as it is now on our side; its mode stays, that of a new one is `mode`. */
  async write(path: string, content: Buffer | string, mode = 0o644): Promise<void> {
    const isNew = (await this.tryRun("exists", path)) !== "true";
    const local = join(this.#folder, "transfer");
    await writeFile(local, content, { mode: 0o600 });
    await this.run("upload", local, path);
    await rm(local);
    if (isNew) await this.run("chmod", `0${mode.toString(8)}`, path);
  }

  /** Unmounts everything, so that all is on the disks, and ends the appliance. */
  async close(): Promise<void> {
    await this.run("umount-all");
    await this.run("sync");
    await this.run("shutdown");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#remote("exit", []).catch(() => {});
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

  #remote(command: string, args: readonly string[]): Promise<RunResult> {
    return runProgram("guestfish", [`--remote=${this.#pid}`, "--", command, ...args], {
      env: this.#env,
      timeoutMs: COMMAND_MS,
      allowFailure: true,
      ...(this.#signal === undefined ? {} : { signal: this.#signal }),
    });
  }
}

function explain({ stderr }: RunResult): string {
  return stderr
    .replace(/^libguestfs: error: /gm, "")
    .trim()
    .split("\n")
    .slice(-3)
    .join("; ");
}
