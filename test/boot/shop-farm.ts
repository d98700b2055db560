import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { MariadbServer, PostgresServer } from "../../fixtures/databases.ts";
import { demoFolder } from "../../fixtures/demo/machine.ts";
import { GuestNetwork } from "../../fixtures/farm/guest-network.ts";
import { Haproxy } from "../../fixtures/farm/haproxy.ts";
import { startLibvirt } from "../../fixtures/libvirt.ts";
import { SmallDisk } from "../../fixtures/small-disk.ts";
import { runProgram } from "../../src/run-program.ts";
import { Doppel, must, packageRoot, runCommand } from "../system/doppel.ts";
import { type Sql, sqlOf } from "../system/farm-databases.ts";
import {
  type Box,
  DATABASES,
  type Differences,
  INSTALL,
  LIBVIRT_URI,
  SHOP_PORT,
  type ShopDatabase,
  shopFarmFile,
} from "./shop-farm-file.ts";

const SHOP = join(packageRoot, "fixtures/farm/shop");
const LIBVIRT = ["-q", "-c", LIBVIRT_URI];
const UP_MS = 300_000;
/** Of each guest: an emulated one starts sooner when it has little to look at. */
const SIZE = ["--cpus", "1", "--memory", "384M"];

export interface ShopStep {
  step: string;
  state: string;
  result: Record<string, unknown>;
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
  #disks: Record<"journal" | "copies", SmallDisk> | undefined;
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

  /** Small ones, of their own: the catalog is on one, with the journal, and the safety copies are on the other. */
  get disks(): Record<"journal" | "copies", SmallDisk> {
    if (!this.#disks) throw new Error("the disks are not there yet");
    return this.#disks;
  }

  get file(): string {
    return join(this.folder, "farm.yaml");
  }

  start(command: string, ...words: string[]) {
    return this.doppel.start("farm", ...command.split(" "), this.file, ...words);
  }

  run(command: string, ...words: string[]) {
    return this.start(command, ...words).ended;
  }

  /** Runs a command that must succeed, and returns what became of its steps. */
  async steps(command: string, ...words: string[]): Promise<ShopStep[]> {
    return ((await this.json(command, ...words)) as unknown as { steps: ShopStep[] }).steps;
  }

  /** As `run`, by an operator whose clock is wrong by so much: `+1h`. */
  runAt(offset: string, command: string) {
    const words = ["-f", offset, join(packageRoot, "bin/doppel"), "farm", command, this.file];
    return runCommand("faketime", words, { DOPPEL_HOME: this.doppel.home });
  }

  async json(command: string, ...words: string[]) {
    return await this.doppel.json("farm", ...command.split(" "), this.file, ...words);
  }

  /** Writes a file beside the farm file. */
  write(name: string, content: string): void {
    writeFileSync(join(this.folder, name), content, { mode: 0o600 });
  }

  /** A connection to a live database, as somebody has who works there beside the shop. */
  async connect(database: ShopDatabase): Promise<Sql> {
    return await sqlOf(this.#serverOf(database), database);
  }

  /** Shuts the shadow of a box out of a database, until what is returned is called. */
  async shutOut(box: string, database: "orders" | "sessions"): Promise<() => Promise<void>> {
    const server = this.#serverOf(database) as PostgresServer;
    return await server.refuse(database, this.#shadowOf(box).address);
  }

  /** The first row of an answer of a live database. */
  async ask(database: ShopDatabase, sql: string): Promise<Record<string, unknown>> {
    const ask = await this.connect(database);
    const [row = {}] = await ask(sql).finally(() => ask.end());
    return row;
  }

  /** Names of the guests that libvirt knows of this farm; `which`: only those. */
  async domains(which = "--all"): Promise<string[]> {
    const all = await must("virsh", ...LIBVIRT, "list", which, "--name");
    return all.split("\n").filter((name) => name.startsWith(this.name));
  }

  /** Runs a command in the old machine of a box, as its operator. */
  async inLive(box: string, ...words: string[]): Promise<string> {
    return await must("ssh", "-F", join(this.folder, "ssh_config"), `live-${box}`, ...words);
  }

  /** Runs a command in the shadow of a box. */
  async inShadow(box: string, ...words: string[]): Promise<string> {
    return await must("ssh", "-F", join(this.folder, "ssh_config"), `shadow-${box}`, ...words);
  }

  /** The shadow of a box finds no boot loader on its disk from now on. */
  async loseBootLoader(box: string): Promise<void> {
    const domain = this.#shadowOf(box).domain;
    await must("virsh", ...LIBVIRT, "destroy", domain);
    const disk = join(this.doppel.home, "instances", domain, "disk0.qcow2");
    await must("qemu-io", "-f", "qcow2", "-c", "write -P 0 0 64k", disk);
    await must("virsh", ...LIBVIRT, "start", domain);
  }

  /** Whether the shadow of a box lets its operator in. */
  async isUp(box: string): Promise<boolean> {
    return await this.inShadow(box, "true").then(
      () => true,
      () => false,
    );
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
    const mounted = (name: string) => this.#keep(SmallDisk.mount(join(this.folder, name)));
    this.#disks = { journal: mounted("journal"), copies: mounted("copies") };
    symlinkSync(join(this.#disks.journal.path, "catalog.db"), join(this.doppel.home, "catalog.db"));
    await startLibvirt();
    await this.#startNetworks();
    const importOf = (version: number) =>
      this.doppel.json("import", join(built, `shop-${version}.raw`), "--name", `shop:${version}`);
    await Promise.all([this.#startDatabases(), importOf(1)]);
    this.#writeGuestFiles();
    await this.#startLive();
    this.#haproxy = this.#keep(
      await Haproxy.start({
        old: this.boxes.map(({ live }) => `${live.address}:${SHOP_PORT}`),
        new: this.boxes.map(({ shadow }) => `${shadow.address}:${SHOP_PORT}`),
        health: "/health",
      }),
    );
    await importOf(2);
    this.write("install.sh", INSTALL);
    this.describe();
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
    this.write("shop.json", settings);
    this.write("user-data", `#cloud-config\n${JSON.stringify(keys)}\n`);
    this.write("user-data-live", `#cloud-config\n${JSON.stringify({ ...keys, write_files: files })}\n`);
    for (const { name, network } of this.boxes) {
      this.write(`network-live-${name}`, JSON.stringify(network.configOf(11)));
      this.write(`network-${name}`, JSON.stringify(network.configOf(21)));
    }
  }

  async #startLive(): Promise<void> {
    const config: string[] = [];
    const known: string[] = [];
    for (const { name, network, live, shadow } of this.boxes) {
      const seed = [
        ...["--user-data", join(this.folder, "user-data-live")],
        ...["--network-config", join(this.folder, `network-live-${name}`)],
      ];
      const where = ["--name", live.domain, "--network", network.name];
      const { hostKey } = await this.doppel.json("thaw", "shop:1", ...where, ...SIZE, ...seed);
      known.push(`${live.address} ${hostKey}`);
      config.push(`Host live-${name}\n  HostName ${live.address}`);
      const anyKey = "StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR";
      config.push(`Host shadow-${name}\n  HostName ${shadow.address}\n  ${anyKey}`);
    }
    this.write("known_hosts", `${known.join("\n")}\n`);
    const all = [
      ...["User root", `IdentityFile ${join(this.folder, "key")}`, "IdentitiesOnly yes"],
      ...[`UserKnownHostsFile ${join(this.folder, "known_hosts")}`, "BatchMode yes"],
    ];
    this.write("ssh_config", `${config.join("\n")}\nHost *\n  ${all.join("\n  ")}\n`);
  }

  /** Writes farm.yaml. */
  describe(differences: Differences = {}): void {
    if (!this.#haproxy) throw new Error("the router is not there yet");
    const { name, boxes } = this;
    const router = { port: this.#haproxy.port, ...this.#haproxy.config };
    this.write("farm.yaml", stringify(shopFarmFile({ name, boxes, router }, differences)));
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

  #shadowOf(box: string): Box["shadow"] {
    const found = this.boxes.find(({ name }) => name === box);
    if (!found) throw new Error(`no box ${box}`);
    return found.shadow;
  }

  #serverOf(database: ShopDatabase): PostgresServer | MariadbServer {
    const server = database === "stock" ? this.#mariadb : this.#postgres;
    if (!server) throw new Error("the databases are not there yet");
    return server;
  }

  #keep<T extends AsyncDisposable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }
}
