import { chmod, mkdir, mkdtemp, open, readdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolder, temporaryName } from "../../../durable-file.ts";
import { systemErrorCode } from "../../../errors.ts";
import type { StagedFile } from "../staged-file.ts";
import type { NginxConfig } from "./config.ts";

/** The symbolic link to the folder of the present state: to replace it is the one atomic step. */
export const CURRENT = "current";
/** How the folder of a state begins. */
export const STATE = "state-";

/** The machine that nginx runs on. Everything throws with the system's code, or that of a connection. */
export interface NginxHost {
  state: StateFolder;
  log: LogFile | undefined;
}

/** Files whose presence nginx tests at each request: folders of states, and a link to the present one. */
export interface StateFolder {
  /** Paths below the present state, folders among them; none without a link. */
  paths(): Promise<string[]>;
  /** Makes a durable state of empty files, to be published as the present one. */
  stage(files: readonly string[]): Promise<StagedFile>;
  /** Takes the link away, durably. */
  clear(): Promise<void>;
}

/** A log that grows, until it is rotated. */
export interface LogFile {
  stat(): Promise<{ inode: number; sizeBytes: number }>;
  /** The text from a byte on; `lengthBytes` are there. */
  read(offsetBytes: number, lengthBytes: number): Promise<string>;
}

/** This machine. */
export function localHost({ folder, log }: Pick<NginxConfig, "folder" | "log">): NginxHost {
  return {
    state: new LocalStateFolder(folder),
    log: log === undefined ? undefined : localLog(log),
  };
}

class LocalStateFolder implements StateFolder {
  readonly #path: string;
  readonly #current: string;

  constructor(path: string) {
    this.#path = path;
    this.#current = join(path, CURRENT);
  }

  async paths(): Promise<string[]> {
    try {
      return await readdir(this.#current, { recursive: true });
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return [];
      throw error;
    }
  }

  async stage(files: readonly string[]): Promise<StagedFile> {
    const state = await this.#makeState(files);
    const link = temporaryName(this.#current);
    await symlink(state, link);
    return {
      discard: async () => {
        await rm(link, { force: true });
        await rm(state, { recursive: true, force: true });
      },
      publish: async () => {
        await rename(link, this.#current);
        await this.#tidy(state);
      },
    };
  }

  async clear(): Promise<void> {
    await rm(this.#current, { force: true });
    await this.#tidy();
  }

  /** nginx's workers run as another user and may look. */
  async #makeState(files: readonly string[]): Promise<string> {
    const state = await mkdtemp(join(this.#path, STATE));
    const folders = new Set(files.map((file) => dirname(join(state, file))).filter((path) => path !== state));
    for (const folder of folders) await mkdir(folder, { recursive: true });
    for (const file of files) await writeFile(join(state, file), "");
    for (const folder of [...folders, state]) {
      await chmod(folder, 0o755);
      await syncFolder(folder);
    }
    return state;
  }

  /** Makes the step durable and removes the states that nothing leads to. */
  async #tidy(present?: string): Promise<void> {
    await syncFolder(this.#path);
    for (const name of await readdir(this.#path)) {
      const path = join(this.#path, name);
      if (name.startsWith(STATE) && path !== present) await rm(path, { recursive: true, force: true });
    }
  }
}

function localLog(path: string): LogFile {
  return {
    async stat() {
      const { ino, size } = await stat(path);
      return { inode: ino, sizeBytes: size };
    },
    async read(offsetBytes, lengthBytes) {
      const log = await open(path, "r");
      try {
        const { bytesRead, buffer } = await log.read(Buffer.alloc(lengthBytes), 0, lengthBytes, offsetBytes);
        return buffer.toString("latin1", 0, bytesRead);
      } finally {
        await log.close();
      }
    },
  };
}
