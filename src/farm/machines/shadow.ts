import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DoppelError } from "../../errors.ts";
import { readInstance } from "../../freezer/instance.ts";
import { Virsh } from "../../hypervisor/virsh.ts";
import { openConnection, routeTo } from "../../ssh/connect.ts";
import type { SshConnection } from "../../ssh/connection.ts";
import { knownHostName } from "../../ssh/known-hosts.ts";
import type { Target } from "../../ssh/target.ts";
import { temporaryFolder } from "../../temporary-folder.ts";
import type { FarmBox, SshSettings } from "../file/boxes.ts";
import type { Farm } from "../file/load.ts";
import { type Reachable, SharedConnection } from "./shared-connection.ts";

/** The machine with the new version beside a production box. */
export class Shadow implements Reachable, AsyncDisposable {
  readonly box: FarmBox;
  /** Of the libvirt domain; of an existing machine only a name for messages. */
  readonly name: string;
  readonly servicePort: number;
  readonly #farm: Farm;
  readonly #home: string;
  readonly #connection = new SharedConnection((signal) => this.#open(signal));

  constructor(farm: Farm, box: FarmBox, home: string) {
    this.#farm = farm;
    this.#home = home;
    this.box = box;
    this.name = shadowName(farm, box);
    this.servicePort = box.shadow.port ?? farm.spec.servicePort;
  }

  /** How it is reached over SSH: the box's own settings before the farm's. */
  get ssh(): SshSettings {
    return { ...this.#farm.spec.ssh, ...this.box.shadow.ssh };
  }

  /** Its address now, or undefined while it has none. */
  async address(): Promise<string | undefined> {
    if (this.box.shadow.address !== undefined) return this.box.shadow.address;
    if (this.box.kind !== "libvirt") return undefined;
    return (await new Virsh(this.box.connect).addresses(this.name).catch(() => []))[0];
  }

  /** Its address; `shadow-unreachable` while it has none. */
  async requireAddress(): Promise<string> {
    const address = await this.address();
    if (address !== undefined) return address;
    throw new DoppelError("shadow-unreachable", `the shadow ${this.name} has no address`, {
      hint: "is it up? 'doppel vms' shows it; without DHCP of libvirt, name its address in the farm file",
    });
  }

  connect(signal: AbortSignal): Promise<SshConnection> {
    return this.#connection.connect(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  async #open(signal: AbortSignal): Promise<SshConnection> {
    await this.#mustRun();
    const { user, port, identity, config } = this.ssh;
    const target: Target = {
      host: await this.requireAddress(),
      ...(user === undefined ? {} : { user }),
      ...(port === undefined ? {} : { port }),
    };
    const files = config === undefined ? {} : { configFile: this.#farm.resolve(config) };
    await using folder = await temporaryFolder("known-hosts");
    const pinned = await this.#pinnedKey();
    const host = routeTo(target, files).at(-1);
    const knownHosts = join(folder.path, "known_hosts");
    if (pinned && host) {
      const name = knownHostName(host.hostname, host.port, host.hostKeyAlias);
      await writeFile(knownHosts, `${name} ${pinned}\n`, { mode: 0o600 });
    }
    return await openConnection(target, {
      files: { ...files, ...(pinned ? { knownHostsFiles: [knownHosts] } : {}) },
      ...(identity === undefined ? {} : { identities: [this.#farm.resolve(identity)] }),
      prompt: async () => undefined,
      signal,
    });
  }

  /** A machine that libvirt does not run is not waited for. */
  async #mustRun(): Promise<void> {
    if (this.box.kind !== "libvirt") return;
    // Where libvirt itself cannot be asked, the machine may answer all the same.
    const state = await new Virsh(this.box.connect).state(this.name).catch(() => "running" as const);
    if (state === "running") return;
    throw new DoppelError(
      "shadow-unreachable",
      `the shadow ${this.name} ${state === "missing" ? "is not there" : `does not run: ${state}`}`,
      { hint: "'doppel farm provision FARM.yaml' starts it" },
    );
  }

  /** The key that the machine must show: the file's, else the one that its seed gave it. */
  async #pinnedKey(): Promise<string | undefined> {
    if (this.ssh.hostKey !== undefined) return this.ssh.hostKey;
    if (this.box.kind !== "libvirt") return undefined;
    return (await readInstance(this.#home, this.name).catch(() => undefined))?.hostKey;
  }
}

function shadowName(farm: Farm, box: FarmBox): string {
  const own = box.kind === "libvirt" ? box.shadow.name : undefined;
  return own ?? `${farm.spec.name}-${box.name}`;
}
