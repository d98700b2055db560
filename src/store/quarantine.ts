import { mkdirSync, readdirSync, renameSync, rmdirSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { syncFolderNow } from "../durable-file.ts";
import { systemErrorCode } from "../errors.ts";

/** Blobs that were taken away together. */
export interface Generation {
  /** What began later than this number (of the catalog's sequence) has not seen these blobs in their place. */
  sequence: number;
  /** Milliseconds of the epoch. */
  since: number;
  folder: string;
}

const GENERATION = /^(\d{1,15})-(\d{1,15})$/;
const HEX = /^[0-9a-f]{64}$/;

/**
 * Blobs that nothing needs, on their way out: `store/quarantine/SEQUENCE-MILLISECONDS/HEX`. Each step is one rename or one
 * unlink, so that whoever wants a blob after all gets it whole or not at all. Synchronous on purpose: the renames belong into
 * the catalog's transactions.
 */
export class Quarantine {
  readonly #folder: string;
  readonly #blobs: string;

  constructor(layout: string, blobs: string) {
    this.#folder = join(layout, "quarantine");
    this.#blobs = blobs;
  }

  /** The generations, the oldest first. */
  generations(): Generation[] {
    const found: Generation[] = [];
    for (const name of listFolder(this.#folder)) {
      const match = GENERATION.exec(name);
      if (!match) continue;
      found.push({
        sequence: Number(match[1]),
        since: Number(match[2]),
        folder: join(this.#folder, name),
      });
    }
    return found.sort((a, b) => a.sequence - b.sequence || a.since - b.since);
  }

  /** The blobs of a generation, by the hexadecimal digits of their digests. */
  blobsOf({ folder }: Generation): string[] {
    return listFolder(folder).filter((name) => HEX.test(name));
  }

  /** Bytes of a blob in quarantine; undefined when somebody has taken it back. */
  sizeOf({ folder }: Generation, hex: string): number | undefined {
    return statSync(join(folder, hex), { throwIfNoEntry: false })?.size;
  }

  /** Begins a generation. */
  begin(sequence: number, since: number): Generation {
    const folder = join(this.#folder, `${sequence}-${since}`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return { sequence, since, folder };
  }

  /** Takes a blob out of its place; returns its bytes, or undefined when it is not there any more. */
  take({ folder }: Generation, hex: string): number | undefined {
    const path = join(this.#blobs, hex);
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    return size !== undefined && moved(path, join(folder, hex)) ? size : undefined;
  }

  /** Brings a blob back to its place; false when it is in no generation. */
  restore(hex: string): boolean {
    const generations = this.generations();
    return generations.some(({ folder }) => moved(join(folder, hex), join(this.#blobs, hex)));
  }

  /** Unlinks a blob for good; false when somebody was faster to take it back. */
  unlink({ folder }: Generation, hex: string): boolean {
    return ignoreMissing(() => unlinkSync(join(folder, hex)));
  }

  /** Removes the folder of a generation when it is empty. */
  end({ folder }: Generation): void {
    try {
      rmdirSync(folder);
    } catch (error) {
      if (!["ENOTEMPTY", "EEXIST", "ENOENT"].includes(systemErrorCode(error) ?? "")) throw error;
    }
  }

  /** Makes what was brought back durable. */
  sync(): void {
    syncFolderNow(this.#blobs);
  }
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
}

function moved(from: string, to: string): boolean {
  return ignoreMissing(() => renameSync(from, to));
}

/** True when it was done, false when there was nothing to do it to. */
function ignoreMissing(change: () => void): boolean {
  try {
    change();
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw error;
  }
}
