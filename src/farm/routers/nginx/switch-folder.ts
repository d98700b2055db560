import { BEFORE_SWITCH, leadsBack, type Routing } from "../routing.ts";
import type { StagedFile } from "../staged-file.ts";
import type { StateFolder } from "./host.ts";

/** Present when the live address leads to the new side; nginx looks for them at each request. */
export const LIVE_NEW = "live-new";
/** Present when the shadow address leads to the old side. */
export const SHADOW_OLD = "shadow-old";
/** Holds a file for each bucket of clients that has the new side although the live address leads to the old one. */
export const CANARY = "canary";

/**
 * The routing of an nginx, as files. Without any everything is as before the switch, so that leading back needs no space on
 * the disk.
 */
export class SwitchFolder {
  readonly #state: StateFolder;

  constructor(state: StateFolder) {
    this.#state = state;
  }

  async read(): Promise<Routing> {
    const paths = await this.#state.paths();
    return {
      live: paths.includes(LIVE_NEW) ? "new" : "old",
      shadow: paths.includes(SHADOW_OLD) ? "old" : "new",
      canaryPercent: paths.filter((path) => path.startsWith(`${CANARY}/`)).length,
    };
  }

  /** Throws with the system's code, as when the folder is missing or the disk is full. */
  async stage(to: Routing): Promise<StagedFile> {
    if (leadsBack(to) && to.shadow === BEFORE_SWITCH.shadow)
      return { discard: async () => {}, publish: () => this.#state.clear() };
    return await this.#state.stage([
      ...(to.live === "new" ? [LIVE_NEW] : []),
      ...(to.shadow === "old" ? [SHADOW_OLD] : []),
      ...Array.from({ length: to.canaryPercent }, (_, bucket) => `${CANARY}/${bucket}`),
    ]);
  }
}
