import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { MariadbServer, PostgresServer } from "../../fixtures/databases.ts";
import { demoFolder } from "../../fixtures/demo/machine.ts";
import { GuestNetwork } from "../../fixtures/farm/guest-network.ts";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { startLibvirt } from "../../fixtures/libvirt.ts";
import { runProgram } from "../../src/run-program.ts";
import { Doppel, must, packageRoot, runCommand } from "../system/doppel.ts";

const SHOP = join(packageRoot, "fixtures/farm/shop");
const URI = "qemu:///system";
const LIBVIRT = ["-q", "-c", URI];
const PORT = 8080;
const UP_MS = 300_000;
/** What version 1 asks of the expanded copy. */
const READS_ORDERS = {
  kind: "sql",
  name: "reads-orders",
  query: "SELECT count(*) > 0 FROM orders WHERE box = 'web1'",
  equals: "true",
};
/** Of each guest: an emulated one starts sooner when it has little to look at. */
const SIZE = ["--cpus", "1", "--memory", "384M"];

export const DATABASES = ["orders", "sessions", "stock"] as const;
export type ShopDatabase = (typeof DATABASES)[number];

interface Box {
  name: string;
  network: GuestNetwork;
  live: { domain: string; address: string };
  shadow: { domain: string; address: string };
}

/**
 * The farm of a shop: two boxes, each a guest with version 1 on a network of its own; two PostgreSQL databases, one of MariaDB, and HAProxy, which
 * knows where the shadows will be. Version 2 is an image in the store.
 */
export class ShopFarm implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "doppel-shop-"));
  readonly name = basename(this.folder).replace("doppel-", "");
  readonly doppel = new Doppel();
  readonly boxes: Box[] = [];
  readonly #resources: AsyncDisposable[] = [];
  #postgres: PostgresServer | undefined;
  #mariadb: MariadbServer | undefined;
  #haproxy: Haproxy | undefined;

  static available(): boolean {
    return PostgresServer.available() && MariadbServer.available() && Haproxy.available();
  }

  /** Returns once users can shop with version 1. */
  static async start(): Promise<ShopFarm> {
    const farm = new ShopFarm();
    try {
      await farm.#start();
      return farm;
    } catch (error) {
      await farm[Symbol.asyncDispose]();
      throw error;
    }
  }

  get port(): number {
    return this.#haproxy?.port ?? 0;
  }

  get file(): string {
    return join(this.folder, "farm.yaml");
  }

  run(command: string, ...words: string[]) {
    return this.doppel.run("farm", ...command.split(" "), this.file, ...words);
  }

  async json(command: string, ...words: string[]) {
    return await this.doppel.json("farm", ...command.split(" "), this.file, ...words);
  }

  /** The first row of an answer of a live database. */
  async ask(database: ShopDatabase, sql: string): Promise<Record<string, unknown>> {
    const [row = {}] = await this.#query(database, sql);
    return row;
  }

  /** Names of all guests that libvirt knows of this farm. */
  async domains(): Promise<string[]> {
    const all = await must("virsh", ...LIBVIRT, "list", "--all", "--name");
    return all.split("\n").filter((name) => name.startsWith(this.name));
  }

  /** Runs a command in the old machine of a box, as its operator. */
  async inLive(box: string, ...words: string[]): Promise<string> {
    return await must("ssh", "-F", join(this.folder, "ssh_config"), `live-${box}`, ...words);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { live, shadow } of this.boxes) {
      for (const domain of [live.domain, shadow.domain]) {
        await runCommand("virsh", [...LIBVIRT, "destroy", domain]);
        await runCommand("virsh", [...LIBVIRT, "undefine", "--nvram", domain]);
      }
    }
    for (const resource of this.#resources.toReversed()) await resource[Symbol.asyncDispose]();
    this.doppel[Symbol.dispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #start(): Promise<void> {
    const built = join(dirname(demoFolder()), "shop");
    await runProgram(join(packageRoot, "fixtures/farm/build-shop"), [built], { timeoutMs: 1_200_000 });
    await must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(this.folder, "key"));
    await startLibvirt();
    await this.#startNetworks();
    const importOf = (version: number) =>
      this.doppel.json("import", join(built, `shop-${version}.raw`), "--name", `shop:${version}`);
    await Promise.all([this.#startDatabases(), importOf(1)]);
    this.#writeGuestFiles();
    await this.#startLive();
    this.#haproxy = this.#keep(
      await Haproxy.start({
        old: this.boxes.map(({ live }) => `${live.address}:${PORT}`),
        new: this.boxes.map(({ shadow }) => `${shadow.address}:${PORT}`),
        health: "/health",
      }),
    );
    await importOf(2);
    this.#describe();
    await this.#liveAnswers();
  }

  async #startNetworks(): Promise<void> {
    const subnet = (process.pid % 120) * 2;
    for (const at of [0, 1]) {
      const network = this.#keep(await GuestNetwork.start(`${this.name}-${at + 1}`, subnet + at));
      const name = `web${at + 1}`;
      this.boxes.push({
        name,
        network,
        live: { domain: `${this.name}-live-${name}`, address: network.address(11) },
        shadow: { domain: `${this.name}-${name}`, address: network.address(21) },
      });
    }
  }

  async #startDatabases(): Promise<void> {
    const host = this.boxes[0]?.network.gateway;
    this.#postgres = this.#keep(await PostgresServer.start(host));
    this.#mariadb = this.#keep(await MariadbServer.start(host));
    for (const database of DATABASES) {
      const tables = readFileSync(join(SHOP, `${database}.1.sql`), "utf8");
      await this.#serverOf(database).create(database, tables);
      writeFileSync(join(this.folder, `${database}-url`), this.#serverOf(database).url(database));
      writeFileSync(
        join(this.folder, `${database}.sql`),
        readFileSync(join(SHOP, `${database}.2.sql`), "utf8"),
      );
    }
  }

  /** What the guests are told: cloud-init's files, and the settings of the shop. */
  #writeGuestFiles(): void {
    const addresses = (database: ShopDatabase) => {
      const server = this.#serverOf(database);
      return { live: server.url(database), copy: server.url(`${database}_doppel_copy`) };
    };
    const settings = JSON.stringify(Object.fromEntries(DATABASES.map((name) => [name, addresses(name)])));
    const keys = { ssh_authorized_keys: [readFileSync(join(this.folder, "key.pub"), "utf8").trim()] };
    const files = [
      { path: "/etc/shop/shop.json", content: settings, permissions: "0600" },
      { path: "/etc/shop/mailer", content: "" },
    ];
    this.#write("shop.json", settings);
    this.#write("user-data", `#cloud-config\n${JSON.stringify(keys)}\n`);
    this.#write("user-data-live", `#cloud-config\n${JSON.stringify({ ...keys, write_files: files })}\n`);
    for (const { name, network } of this.boxes) {
      this.#write(`network-live-${name}`, JSON.stringify(network.configOf(11)));
      this.#write(`network-${name}`, JSON.stringify(network.configOf(21)));
    }
  }

  async #startLive(): Promise<void> {
    const config: string[] = [];
    const known: string[] = [];
    for (const { name, network, live } of this.boxes) {
      const seed = [
        ...["--user-data", join(this.folder, "user-data-live")],
        ...["--network-config", join(this.folder, `network-live-${name}`)],
      ];
      const where = ["--name", live.domain, "--network", network.name];
      const { hostKey } = await this.doppel.json("thaw", "shop:1", ...where, ...SIZE, ...seed);
      known.push(`${live.address} ${hostKey}`);
      config.push(`Host live-${name}\n  HostName ${live.address}`);
    }
    this.#write("known_hosts", `${known.join("\n")}\n`);
    const all = [
      ...["User root", `IdentityFile ${join(this.folder, "key")}`, "IdentitiesOnly yes"],
      ...[`UserKnownHostsFile ${join(this.folder, "known_hosts")}`, "BatchMode yes"],
    ];
    this.#write("ssh_config", `${config.join("\n")}\nHost *\n  ${all.join("\n  ")}\n`);
  }

  #describe(): void {
    const connect = `127.0.0.1:${this.port}`;
    const { name, socket, map, backends } = this.#haproxy?.config ?? {};
    const use = (database: ShopDatabase, ...words: string[]) => ["shop-use", database, ...words];
    const farm = {
      version: 1,
      name: this.name,
      sites: {
        live: { url: `http://${SITE.live}`, connect },
        shadow: { url: `http://${SITE.shadow}`, connect, identify: { header: "X-Box" } },
      },
      routers: [{ kind: "haproxy", name, socket, map, backends }],
      image: { ref: "shop:2" },
      resources: { cpus: 1, memory: "384M", disk: "256M" },
      servicePort: PORT,
      ssh: { user: "root", identity: "key", config: "ssh_config" },
      boxes: this.boxes.map(({ name: box, network, live, shadow }) => ({
        kind: "libvirt",
        name: box,
        connect: URI,
        live: { address: live.address, ssh: `live-${box}`, domain: live.domain },
        shadow: {
          networks: [network.name],
          address: shadow.address,
          networkConfig: `network-${box}`,
        },
      })),
      provision: {
        userData: "user-data",
        steps: [
          { kind: "file", from: "shop.json", to: "/etc/shop/shop.json", mode: "0600" },
          { kind: "command", run: ["systemctl", "restart", "shop"] },
          // Until it is pointed elsewhere, version 2 has nothing but copies.
          {
            kind: "command",
            run: ["sh", "-c", `for name in ${DATABASES.join(" ")}; do shop-use $name copy; done`],
          },
        ],
        ready: [{ kind: "http", name: "up", via: "box", path: "/health" }],
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
        migrations: [`${database}.sql`],
        ...(database === "orders" ? { oldVersionChecks: [READS_ORDERS] } : {}),
        point: { live: use(database, "live"), copy: use(database, "copy"), probe: use(database) },
      })),
      checks: [{ kind: "http", name: "front", path: "/", contains: "2" }],
      switch: { watch: "5s", drain: "10s" },
    };
    this.#write("farm.yaml", stringify(farm));
  }

  /** Waits until HAProxy finds every box up: before, it would send all users to one of them. */
  async #liveAnswers(): Promise<void> {
    const deadline = performance.now() + UP_MS;
    while (performance.now() < deadline) {
      const rows = ((await this.#haproxy?.ask("show stat")) ?? "").split("\n");
      const up = rows.filter((row) => row.startsWith("app-old,box") && row.split(",")[17] === "UP");
      if (up.length === this.boxes.length) return;
      await sleep(500);
    }
    throw new Error(`the shop of version 1 was not up within ${UP_MS / 1000} s`);
  }

  async #query(database: ShopDatabase, sql: string): Promise<Record<string, unknown>[]> {
    const server = this.#serverOf(database);
    if (server instanceof PostgresServer) {
      const client = await server.connect(database);
      const { rows } = await client.query(sql).finally(() => client.end());
      return rows;
    }
    const connection = await server.connect(database);
    const [rows] = await connection.query(sql).finally(() => connection.end());
    return rows as Record<string, unknown>[];
  }

  #serverOf(database: ShopDatabase): PostgresServer | MariadbServer {
    const server = database === "stock" ? this.#mariadb : this.#postgres;
    if (!server) throw new Error("the databases are not there yet");
    return server;
  }

  #write(name: string, content: string): void {
    writeFileSync(join(this.folder, name), content, { mode: 0o600 });
  }

  #keep<T extends AsyncDisposable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }
}
