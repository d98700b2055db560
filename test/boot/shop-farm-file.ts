import type { GuestNetwork } from "../../fixtures/farm/guest-network.ts";
import { SITE } from "../../fixtures/farm/haproxy.ts";
import type { HaproxyConfig } from "../../src/farm/routers/haproxy/config.ts";

export const LIBVIRT_URI = "qemu:///system";
/** Of the shop in every guest. */
export const SHOP_PORT = 8080;

export const DATABASES = ["orders", "sessions", "stock"] as const;
export type ShopDatabase = (typeof DATABASES)[number];

/** Until it is pointed elsewhere, version 2 has nothing but copies. */
export const INSTALL = `#!/bin/sh
for name in ${DATABASES.join(" ")}; do shop-use $name copy; done
`;

/** What version 1 asks of the expanded copy. */
const READS_ORDERS = {
  kind: "sql",
  name: "reads-orders",
  query: "SELECT count(*) > 0 FROM orders WHERE box = 'web1'",
  equals: "true",
};

export interface Box {
  name: string;
  network: GuestNetwork;
  live: { domain: string; address: string };
  shadow: { domain: string; address: string };
}

interface Shop {
  name: string;
  boxes: readonly Box[];
  router: HaproxyConfig & { port: number };
}

/** What a file says otherwise than that of the upgrade. */
export interface Differences {
  /** By box. */
  shadows?: Record<string, object>;
  databases?: Partial<Record<ShopDatabase, object>>;
  provision?: object;
  switch?: object;
}

/** The farm file of the shop. */
export function shopFarmFile({ name, boxes, router }: Shop, differences: Differences): object {
  const { port, name: routerName, socket, map, backends } = router;
  const connect = `127.0.0.1:${port}`;
  const use = (database: ShopDatabase, ...words: string[]) => ["shop-use", database, ...words];
  return {
    version: 1,
    name,
    sites: {
      live: { url: `http://${SITE.live}`, connect },
      shadow: { url: `http://${SITE.shadow}`, connect, identify: { header: "X-Box" } },
    },
    routers: [{ kind: "haproxy", name: routerName, socket, map, backends }],
    image: { ref: "shop:2" },
    resources: { cpus: 1, memory: "384M", disk: "256M" },
    servicePort: SHOP_PORT,
    ssh: { user: "root", identity: "key", config: "ssh_config" },
    boxes: boxes.map(({ name: box, network, live, shadow }) => ({
      kind: "libvirt",
      name: box,
      connect: LIBVIRT_URI,
      live: { address: live.address, ssh: `live-${box}`, domain: live.domain },
      shadow: {
        networks: [network.name],
        address: shadow.address,
        networkConfig: `network-${box}`,
        ...differences.shadows?.[box],
      },
    })),
    provision: {
      userData: "user-data",
      steps: [
        { kind: "file", from: "shop.json", to: "/etc/shop/shop.json", mode: "0600" },
        { kind: "command", run: ["systemctl", "restart", "shop"] },
        { kind: "script", from: "install.sh" },
      ],
      ready: [{ kind: "http", name: "up", via: "box", path: "/health" }],
      ...differences.provision,
    },
    off: [
      {
        name: "mailer",
        off: ["shop-mailer", "off"],
        on: ["shop-mailer", "on"],
        probe: ["shop-mailer", "probe"],
      },
    ],
    databases: DATABASES.map((database) => ({
      engine: database === "stock" ? "mariadb" : "postgres",
      name: database,
      url: { file: `${database}-url` },
      safetyCopies: "copies",
      migrations: [`${database}.sql`],
      ...(database === "orders" ? { oldVersionChecks: [READS_ORDERS] } : {}),
      point: { live: use(database, "live"), copy: use(database, "copy"), probe: use(database) },
      ...differences.databases?.[database],
    })),
    checks: [{ kind: "http", name: "front", path: "/", contains: "2" }],
    switch: { watch: "5s", drain: "10s", ...differences.switch },
  };
}
