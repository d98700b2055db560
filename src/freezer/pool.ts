import { stat } from "node:fs/promises";
import { DoppelError, EXIT } from "../errors.ts";
import type { Virsh } from "../hypervisor/virsh.ts";

/** Bytes of an image travel for as long as they need. */
const UPLOAD_MS = 24 * 3_600_000;

/** A storage pool of libvirt, of the kind `dir`: files on that host, which may be another one than this. */
export class Pool {
  readonly name: string;
  readonly #virsh: Virsh;

  private constructor(virsh: Virsh, name: string) {
    this.#virsh = virsh;
    this.name = name;
  }

  /** Throws `pool-inactive` (exit 3) when it is not there or not started. */
  static async open(virsh: Virsh, name: string): Promise<Pool> {
    const { stdout, exitCode } = await virsh.run(["pool-info", name], { allowFailure: true });
    if (exitCode === 0 && /^State:\s+running/m.test(stdout)) return new Pool(virsh, name);
    throw new DoppelError("pool-inactive", `libvirt's storage pool ${name} is not there or not started`, {
      hint: `virsh -c ${virsh.uri} pool-start ${name}`,
      exitCode: EXIT.refused,
    });
  }

  /** Bytes that the pool can still take. */
  async availableBytes(): Promise<number> {
    const { stdout } = await this.#virsh.run(["pool-info", "--bytes", this.name]);
    return Number(/^Available:\s+(\d+)/m.exec(stdout)?.[1] ?? 0);
  }

  /** The length of a volume's file, or undefined when there is none. */
  async lengthBytes(volume: string): Promise<number | undefined> {
    const { stdout, exitCode } = await this.#virsh.run(["vol-dumpxml", volume, "--pool", this.name], {
      allowFailure: true,
    });
    if (exitCode !== 0) return undefined;
    return Number(/<physical unit='bytes'>(\d+)</.exec(stdout)?.[1] ?? 0);
  }

  /** Whether a volume was placed to its end. */
  async isPlaced(volume: string): Promise<boolean> {
    const [mark, itself] = [await this.lengthBytes(markOf(volume)), await this.lengthBytes(volume)];
    return mark !== undefined && itself !== undefined;
  }

  /** Puts a file into the pool once: an empty volume beside it says that all of it has arrived. */
  async place(volume: string, file: string, signal?: AbortSignal): Promise<void> {
    if (await this.isPlaced(volume)) return;
    await this.remove(markOf(volume));
    await this.upload(volume, file, signal);
    await this.#virsh.run(["vol-create-as", this.name, markOf(volume), "0", "--format", "raw"]);
  }

  /** Puts a file into the pool, in place of a volume of that name. Throws `pool-upload` when not all of it arrived. */
  async upload(volume: string, file: string, signal?: AbortSignal): Promise<void> {
    const { size } = await stat(file);
    await this.remove(volume);
    // Of no length at first, so that its length tells how much has arrived.
    await this.#virsh.run(["vol-create-as", this.name, volume, "0", "--format", "raw"]);
    const limits = { timeoutMs: UPLOAD_MS, ...(signal ? { signal } : {}) };
    await this.#virsh.run(["vol-upload", volume, file, "--pool", this.name], limits);
    await this.#virsh.run(["pool-refresh", this.name]);
    const arrived = await this.lengthBytes(volume);
    if (arrived === size) return;
    throw new DoppelError(
      "pool-upload",
      `of ${volume}, ${arrived ?? 0} of ${size} bytes arrived in ${this.name}`,
      {
        hint: "run the same command again",
      },
    );
  }

  /** An overlay on a base volume: only what is written takes room. */
  async overlay(volume: string, base: string, sizeBytes: number): Promise<void> {
    const backing = ["--backing-vol", base, "--backing-vol-format", "qcow2"];
    await this.#virsh.run([
      ...["vol-create-as", this.name, volume, String(sizeBytes), "--format", "qcow2", ...backing],
    ]);
  }

  /** A volume's path on its host. */
  async path(volume: string): Promise<string> {
    return (await this.#virsh.run(["vol-path", volume, "--pool", this.name])).stdout.trim();
  }

  /** Removes a volume; what is gone already is no failure. */
  async remove(volume: string): Promise<void> {
    if ((await this.lengthBytes(volume)) === undefined) return;
    await this.#virsh.run(["vol-delete", volume, "--pool", this.name]);
  }
}

/** The volume of an image's disk: by digest, so that a name that moves never gets another image's base. */
export function baseVolume(imageDigest: string, disk: number): string {
  return `doppel-${imageDigest.replace("sha256:", "")}-${disk}.qcow2`;
}

function markOf(volume: string): string {
  return `${volume}.whole`;
}
