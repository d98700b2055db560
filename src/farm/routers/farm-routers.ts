import type { FarmSpec } from "../file/schema.ts";
import { openRouter, routerConfigOf, siteConfig } from "./index.ts";
import type { Router, RouterState } from "./router.ts";

/** The routers of a farm file, opened when they are first asked for. */
export class FarmRouters implements AsyncDisposable {
  readonly #spec: FarmSpec;
  #open: Promise<Router[]> | undefined;

  constructor(spec: FarmSpec) {
    this.#spec = spec;
  }

  open(): Promise<Router[]> {
    this.#open ??= this.#openAll();
    return this.#open;
  }

  /** What each of them does now, and what it would do after a restart. */
  async probe(signal: AbortSignal): Promise<RouterState[]> {
    return await Promise.all((await this.open()).map((router) => router.probe(signal)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const routers = await this.#open?.catch(() => []);
    for (const router of routers ?? []) await router[Symbol.asyncDispose]();
  }

  async #openAll(): Promise<Router[]> {
    const { sites, routers } = this.#spec;
    const hostOf = ({ url }: { url: string }) => new URL(url).hostname;
    const site = siteConfig.parse({ live: hostOf(sites.live), shadow: hostOf(sites.shadow) });
    const open: Router[] = [];
    for (const router of routers) open.push(await openRouter(routerConfigOf(router), site));
    return open;
  }
}
