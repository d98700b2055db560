import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { Lab } from "../../fixtures/lab.ts";
import { type Doppel, must, runCommand } from "../system/doppel.ts";

const UP = { timeout: 600_000, interval: 1000 };
/** Services may take their 90 seconds to stop, too. */
const RESTARTED = { timeout: 600_000, interval: 1000 };

/** A machine that runs from an image of a lab's machine, reached over SSH with the lab's keys. */
export class ThawedVm implements AsyncDisposable {
  address = "";
  readonly #name: string;
  readonly #home: string;
  readonly #lab: Lab;

  private constructor(home: string, name: string, lab: Lab) {
    this.#home = home;
    this.#name = name;
    this.#lab = lab;
  }

  /** Thaws the image, and waits until the machine has an address and lets us in. */
  static async start(doppel: Doppel, ref: string, name: string, lab: Lab): Promise<ThawedVm> {
    await doppel.json("thaw", ref, "--name", name, "--memory", "1G");
    const vm = new ThawedVm(doppel.home, name, lab);
    const lease = async () =>
      ((await doppel.json("vms")) as unknown as { addresses: string[] }[])[0]?.addresses[0];
    try {
      await vm.#expectUp(() => expect.poll(lease, UP).toBeTruthy());
      vm.address = (await lease()) ?? "";
      await vm.#expectUp(() => expect.poll(() => vm.run("echo up").catch(() => "not yet"), UP).toBe("up\n"));
      return vm;
    } catch (error) {
      // It would go on beside all tests that follow.
      await vm[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Runs a script as root in the machine and returns what it prints. */
  async run(script: string): Promise<string> {
    const knownHosts = join(this.#lab.folder, "known_hosts_vm");
    const hostKey = readFileSync(join(this.#lab.built, "host_key.pub"), "utf8");
    writeFileSync(knownHosts, `${this.address} ${hostKey}`);
    // A connection to a machine that goes down in that moment would wait for ever.
    const patience = ["ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=3"];
    const options = [`UserKnownHostsFile=${knownHosts}`, "IdentitiesOnly=yes", "BatchMode=yes", ...patience];
    const key = join(this.#lab.folder, "id_ed25519");
    return await must(
      "ssh",
      ...["-i", key, ...options.flatMap((option) => ["-o", option])],
      ...[`root@${this.address}`, script],
    );
  }

  /** Restarts the machine, and returns when it is up again. */
  async restart(): Promise<void> {
    const bootId = async () => (await this.run("cat /proc/sys/kernel/random/boot_id")).trim();
    const before = await bootId();
    await this.run("systemctl reboot").catch(() => {});
    await this.#expectUp(() => expect.poll(() => bootId().catch(() => before), RESTARTED).not.toBe(before));
  }

  /** Shows the console of a machine that does not come up. */
  async #expectUp(isUp: () => Promise<void>): Promise<void> {
    try {
      await isUp();
    } catch (error) {
      throw new Error(`${this.#name} did not come up; its console ends: ${this.#console()}`, {
        cause: error,
      });
    }
  }

  #console(): string {
    const text = readFileSync(join(this.#home, "instances", this.#name, "console.log"), "latin1");
    return text.slice(-4000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const words of [["destroy"], ["undefine", "--nvram"]])
      await runCommand("virsh", ["-c", "qemu:///system", ...words, this.#name]);
  }
}
