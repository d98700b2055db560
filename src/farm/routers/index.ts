import { z } from "zod";
import { DoppelError, EXIT } from "../../errors.ts";
import type { FarmRouter } from "../file/routers.ts";
import type { Reachable } from "../machines/shared-connection.ts";
import { commandConfig } from "./command/config.ts";
import { CommandRouter } from "./command/router.ts";
import { haproxyConfig } from "./haproxy/config.ts";
import { remoteHost as remoteHaproxy } from "./haproxy/remote-host.ts";
import { HaproxyRouter } from "./haproxy/router.ts";
import { haproxySnippet } from "./haproxy/snippet.ts";
import { nginxConfig } from "./nginx/config.ts";
import { remoteHost as remoteNginx } from "./nginx/remote-host.ts";
import { NginxRouter } from "./nginx/router.ts";
import { nginxSnippet } from "./nginx/snippet.ts";
import type { Router } from "./router.ts";
import type { Site } from "./routing.ts";

export { changeRouting } from "./change-routing.ts";
export { drainSide } from "./drain.ts";
export { askFromOutside } from "./outside.ts";
export { AFTER_SWITCH, BEFORE_SWITCH, canaryRouting, REHEARSAL, WITHOUT_OLD } from "./routing.ts";
export { SiteWatch } from "./watch/site-watch.ts";
export { measureBaseline, watchSwitch } from "./watch/watch.ts";

/** The routers of a farm file. */
export const routerConfig = z.discriminatedUnion("kind", [haproxyConfig, nginxConfig, commandConfig]);

export type RouterConfig = z.infer<typeof routerConfig>;

/** All routers of a site. Each has a name of its own. */
export const routersConfig = z
  .array(routerConfig)
  .min(1)
  .refine(
    (routers) => new Set(routers.map(({ name }) => name)).size === routers.length,
    "a name for each router",
  );

/** One kind of router. */
interface Adapter<C> {
  /** `machine`: where it runs, when that is another one. */
  open(config: C, site: Site, machine?: Reachable): Promise<Router> | Router;
  /** The lines that the router's own configuration must have. */
  snippet(config: C, site: Site): string;
}

const adapters: { [K in RouterConfig["kind"]]: Adapter<Extract<RouterConfig, { kind: K }>> } = {
  haproxy: {
    open: (config, site, machine) =>
      HaproxyRouter.open(config, site, machine && remoteHaproxy(config.name, config.socket, machine)),
    snippet: haproxySnippet,
  },
  nginx: {
    open: (config, site, machine) => NginxRouter.open(config, site, machine && remoteNginx(config, machine)),
    snippet: nginxSnippet,
  },
  command: { open: CommandRouter.open, snippet: () => "" },
};

/** A router of a farm file. Throws `router-config` for names and paths that mean something else to the router. */
export function routerConfigOf(router: FarmRouter): RouterConfig {
  const parsed = routerConfig.safeParse(fieldsOf(router));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new DoppelError(
    "router-config",
    `the router ${router.name}: ${issue?.path.join(".") ?? ""}: ${issue?.message}`,
    { hint: "docs/routers.md shows what may stand there", exitCode: EXIT.usage },
  );
}

function fieldsOf(router: FarmRouter): object {
  if (router.kind !== "command") {
    const { ssh: _, ...fields } = router;
    return fields;
  }
  const { timeout, ...fields } = router;
  return { ...fields, timeoutMs: timeout };
}

const hostName = z
  .string()
  .regex(/^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/);

/** The addresses of a site as a farm file has them: two host names in lower case, without a port. */
export const siteConfig = z
  .strictObject({ live: hostName, shadow: hostName })
  .refine((site) => site.live !== site.shadow, "two addresses");

/** Opens a router; throws where it finds at once that it cannot be used. */
export async function openRouter(config: RouterConfig, site: Site, machine?: Reachable): Promise<Router> {
  return await (adapters[config.kind] as Adapter<RouterConfig>).open(config, site, machine);
}

/** What a router's own configuration must have for this site. */
export function routerSnippet(config: RouterConfig, site: Site): string {
  return (adapters[config.kind] as Adapter<RouterConfig>).snippet(config, site);
}
