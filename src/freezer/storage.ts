import { join } from "node:path";
import { runProgram } from "../run-program.ts";
import type { StoredImage } from "../store/image-store.ts";
import { baseVolume, type Pool } from "./pool.ts";

/** Where a machine's overlays and seed lie: in its own folder, or in a storage pool of libvirt. */
export interface MachineStorage {
  /** What `discard` removes besides the machine's folder: known before it is made. */
  readonly volumes: readonly string[];
  /** Overlays on the image's bases, in the disks' order: their paths on the host that runs the machine. */
  makeOverlays(): Promise<string[]>;
  /** Takes the seed's ISO, and says where the host finds it. */
  takeSeed(path: string): Promise<string>;
  /** Removes what was made. */
  remove(): Promise<void>;
}

/** Overlays beside the machine's other files; its folder is removed as a whole by whoever made it. */
export function folderStorage(folder: string, bases: readonly string[]): MachineStorage {
  return {
    volumes: [],
    makeOverlays: async () => {
      const overlays: string[] = [];
      for (const [index, base] of bases.entries()) {
        const overlay = join(folder, `disk${index}.qcow2`);
        await runProgram("qemu-img", ["create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay]);
        overlays.push(overlay);
      }
      return overlays;
    },
    takeSeed: async (path) => path,
    remove: async () => {},
  };
}

export interface PoolStorageOptions {
  /** The machine's name. */
  name: string;
  image: StoredImage;
  /** The image's disks as qcow2 files here. */
  bases: readonly string[];
  seeded: boolean;
  signal?: AbortSignal;
}

/** The bases as volumes, placed once for an image, and overlays of this machine on them. */
export function poolStorage(pool: Pool, options: PoolStorageOptions): MachineStorage {
  const { name, image, bases, seeded, signal } = options;
  const seed = `${name}-seed.iso`;
  const volumes = [...bases.keys()].map((index) => `${name}-${index}.qcow2`);
  if (seeded) volumes.push(seed);
  return {
    volumes,
    makeOverlays: async () => {
      const overlays: string[] = [];
      for (const [index, { sizeBytes }] of image.config.doppel.disks.entries()) {
        const base = baseVolume(image.digest, index);
        const overlay = volumes[index] ?? "";
        await pool.place(base, bases[index] ?? "", signal);
        await pool.overlay(overlay, base, sizeBytes);
        overlays.push(await pool.path(overlay));
      }
      return overlays;
    },
    takeSeed: async (path) => {
      await pool.upload(seed, path, signal);
      return await pool.path(seed);
    },
    remove: async () => {
      for (const volume of volumes) await pool.remove(volume);
    },
  };
}
