import type { Farm } from "../file/load.ts";
import type { FarmRouter } from "../file/routers.ts";
import { RouterMachine } from "../machines/router-machine.ts";
import { type DrainResult, drainSide } from "./drain.ts";
import { openRouter, routerConfigOf, siteConfig } from "./index.ts";
import type { Router, RouterState } from "./router.ts";

/** The routers of a farm file, opened when they are first asked for. */
export class FarmRouters implements AsyncDisposable {
  readonly #farm: Farm;
  readonly #machines: RouterMachine[] = [];
  #open: Promise<Router[]> | undefined;

  constructor(farm: Farm) {
    this.#farm = farm;
  }

  open(): Promise<Router[]> {
    this.#open ??= this.#openAll();
    return this.#open;
  }

  /** What each of them does now, and what it would do after a restart. */
  async probe(signal: AbortSignal): Promise<RouterState[]> {
    return await Promise.all((await this.open()).map((router) => router.probe(signal)));
  }

  /**
   * Waits until nothing runs on the old version any more, at most `timeoutMs`. `unknown`: routers that do not tell what they have
   * in flight.
   */
  async drainOld(timeoutMs: number, signal: AbortSignal): Promise<DrainResult & { unknown: string[] }> {
    const routers = await this.open();
    const able = routers.filter(({ abilities }) => abilities.has("drain"));
    const unknown = routers.filter((router) => !able.includes(router)).map(({ name }) => name);
    return { ...(await drainSide(able, "old", { timeoutMs, signal })), unknown };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const routers = await this.#open?.catch(() => []);
    for (const router of routers ?? []) await router[Symbol.asyncDispose]();
    for (const machine of this.#machines) await machine[Symbol.asyncDispose]();
  }

  async #openAll(): Promise<Router[]> {
    const { sites, routers } = this.#farm.spec;
    const hostOf = ({ url }: { url: string }) => new URL(url).hostname;
    const site = siteConfig.parse({ live: hostOf(sites.live), shadow: hostOf(sites.shadow) });
    const open: Router[] = [];
    for (const router of routers)
      open.push(await openRouter(routerConfigOf(router), site, this.#machineOf(router)));
    return open;
  }

  #machineOf(router: FarmRouter): RouterMachine | undefined {
    if (router.kind === "command" || router.ssh === undefined) return undefined;
    const machine = new RouterMachine(this.#farm, router.ssh);
    this.#machines.push(machine);
    return machine;
  }
}
