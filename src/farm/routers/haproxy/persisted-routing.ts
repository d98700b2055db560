import type { Routing, Site } from "../routing.ts";
import type { RouterFiles } from "../staged-file.ts";
import { type Backends, editMapFile, parseMapFile, routingOf } from "./site-map.ts";

/** A map file that waits to be the file. */
export interface StagedRouting {
  /** False when somebody else changed the file meanwhile: nothing was written. */
  publish(): Promise<boolean>;
  discard(): Promise<void>;
}

/** What HAProxy would do with the site's addresses after a reload. */
export class PersistedRouting {
  readonly #files: RouterFiles;
  readonly #path: string;
  readonly #site: Site;
  readonly #backends: Backends;

  constructor(files: RouterFiles, path: string, site: Site, backends: Backends) {
    this.#files = files;
    this.#path = path;
    this.#site = site;
    this.#backends = backends;
  }

  async read(): Promise<Routing> {
    return routingOf(parseMapFile(await this.#files.read(this.#path)), this.#site, this.#backends);
  }

  async stage(to: Routing): Promise<StagedRouting> {
    const text = await this.#files.read(this.#path);
    const staged = await this.#files.stage(this.#path, editMapFile(text, to, this.#site, this.#backends));
    return {
      publish: async () => {
        if ((await this.#files.read(this.#path)) === text) {
          await staged.publish();
          return true;
        }
        await staged.discard();
        return false;
      },
      discard: () => staged.discard(),
    };
  }
}
