import { chmod, mkdir, mkdtemp, readdir, readlink, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder, temporaryName } from "../../../durable-file.ts";
import { systemErrorCode } from "../../../errors.ts";
import { BEFORE_SWITCH, leadsBack, type Routing } from "../routing.ts";
import type { StagedFile } from "../staged-file.ts";

/** Present when the live address leads to the new side; nginx looks for them at each request. */
export const LIVE_NEW = "live-new";
/** Present when the shadow address leads to the old side. */
export const SHADOW_OLD = "shadow-old";
/** Holds a file for each bucket of clients that has the new side although the live address leads to the old one. */
export const CANARY = "canary";
/** The symbolic link to the folder of the present state: to replace it is the one atomic step. */
export const CURRENT = "current";

/**
 * The state of an nginx: a link to a folder with files whose presence nginx tests at each request. Without the link
 * everything is as before the switch, so that leading back needs no space on the disk.
 */
export class SwitchFolder {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async read(): Promise<Routing> {
    const names = await namesIn(join(this.#path, CURRENT));
    const buckets = await namesIn(join(this.#path, CURRENT, CANARY));
    return {
      live: names.includes(LIVE_NEW) ? "new" : "old",
      shadow: names.includes(SHADOW_OLD) ? "old" : "new",
      canaryPercent: buckets.length,
    };
  }

  /** Throws with the system's code, as when the folder is missing or the disk is full. */
  async stage(to: Routing): Promise<StagedFile> {
    if (leadsBack(to) && to.shadow === BEFORE_SWITCH.shadow) {
      return {
        discard: async () => {},
        publish: async () => {
          await rm(join(this.#path, CURRENT), { force: true });
          await this.#tidy();
        },
      };
    }
    const state = await this.#makeState(to);
    const link = temporaryName(join(this.#path, CURRENT));
    await symlink(state, link);
    return {
      discard: async () => {
        await rm(link, { force: true });
        await rm(state, { recursive: true, force: true });
      },
      publish: async () => {
        await rename(link, join(this.#path, CURRENT));
        await this.#tidy();
      },
    };
  }

  /** nginx's workers run as another user and may look. */
  async #makeState(to: Routing): Promise<string> {
    const state = await mkdtemp(join(this.#path, "state-"));
    const canary = join(state, CANARY);
    await mkdir(canary);
    if (to.live === "new") await writeFile(join(state, LIVE_NEW), "");
    if (to.shadow === "old") await writeFile(join(state, SHADOW_OLD), "");
    for (let bucket = 0; bucket < to.canaryPercent; bucket++)
      await writeFile(join(canary, String(bucket)), "");
    for (const folder of [canary, state]) {
      await chmod(folder, 0o755);
      await syncFolder(folder);
    }
    return state;
  }

  /** Makes the step durable and removes the states that nothing leads to. */
  async #tidy(): Promise<void> {
    await syncFolder(this.#path);
    const present = await readlink(join(this.#path, CURRENT)).catch(() => "");
    for (const name of await readdir(this.#path)) {
      const path = join(this.#path, name);
      if (name.startsWith("state-") && path !== present) await rm(path, { recursive: true, force: true });
    }
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error: unknown) => {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  });
}
