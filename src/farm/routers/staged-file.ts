import { type FileHandle, open, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder, temporaryName } from "../../durable-file.ts";
import { DoppelError, systemErrorCode } from "../../errors.ts";

/** New content of a file, durable under a temporary name: what is left to do can hardly fail. */
export interface StagedFile {
  /** Gives the file its new content, durably. */
  publish(): Promise<void>;
  discard(): Promise<void>;
}

/** The files of the machine that a router runs on. */
export interface RouterFiles {
  /** Throws with the system's code. */
  read(path: string): Promise<string>;
  /**
   * Writes content beside an existing file, with the file's owner and mode; a symbolic link stays one. Throws with
   * the system's code.
   */
  stage(path: string, content: string): Promise<StagedFile>;
}

/** The files of this machine. */
export const localFiles: RouterFiles = {
  async read(path) {
    try {
      return await readFile(path, "utf8");
    } catch (error) {
      throw unreadable(path, error);
    }
  },

  async stage(path, content) {
    const target = await realpath(path).catch((error: unknown) => {
      throw unreadable(path, error);
    });
    const temporary = temporaryName(target);
    const discard = () => rm(temporary, { force: true });
    try {
      await writeLike(target, temporary, content);
    } catch (error) {
      await discard();
      throw error;
    }
    return {
      discard,
      async publish() {
        await rename(temporary, target);
        await syncFolder(dirname(target));
      },
    };
  },
};

async function writeLike(target: string, temporary: string, content: string): Promise<void> {
  const { mode, uid, gid } = await stat(target);
  const file: FileHandle = await open(temporary, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.chown(uid, gid);
    await file.chmod(mode & 0o777);
    await file.sync();
  } finally {
    await file.close();
  }
}

function unreadable(path: string, cause: unknown): DoppelError {
  const code = systemErrorCode(cause);
  const why =
    code === "ENOENT" ? "it does not exist" : cause instanceof Error ? cause.message : String(cause);
  return new DoppelError(code ?? "EIO", `${path} cannot be read: ${why}`, {
    hint: "the router's configuration and the farm file must name the same file; docs/routers.md shows both",
    cause,
  });
}
