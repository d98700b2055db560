import { SECTOR_BYTES, TABLE_ENTRIES, TABLE_SECTORS } from "./header.ts";

/**
 * The tables of a sparse extent as they fill, grain after grain: one grain table in memory, and the directory, 4 bytes for
 * 32 MiB of the disk.
 */
export class GrainTables {
  readonly #directory: Uint32Array;
  #table = new Uint32Array(TABLE_ENTRIES);
  #number = -1;

  constructor(capacitySectors: number, grainSectors: number) {
    this.#directory = new Uint32Array(Math.ceil(capacitySectors / (grainSectors * TABLE_ENTRIES)));
  }

  /** Whether a grain begins another table than the one that is open. */
  needsFlush(grain: number): boolean {
    return this.#number >= 0 && Math.floor(grain / TABLE_ENTRIES) !== this.#number;
  }

  /** Notes where a grain begins. */
  add(grain: number, sector: number): void {
    this.#number = Math.floor(grain / TABLE_ENTRIES);
    this.#table[grain % TABLE_ENTRIES] = sector;
  }

  /** Closes the open table, which will lie at `sector`; undefined when there is none. */
  flush(sector: number): { number: number; bytes: Buffer } | undefined {
    if (this.#number < 0) return undefined;
    const closed = { number: this.#number, bytes: littleEndian(this.#table, TABLE_SECTORS * SECTOR_BYTES) };
    this.#directory[this.#number] = sector;
    this.#table = new Uint32Array(TABLE_ENTRIES);
    this.#number = -1;
    return closed;
  }

  /** The directory, padded to whole sectors. */
  directory(): Buffer {
    return littleEndian(
      this.#directory,
      Math.ceil((this.#directory.length * 4) / SECTOR_BYTES) * SECTOR_BYTES,
    );
  }
}

export function littleEndian(values: Uint32Array, paddedBytes: number): Buffer {
  const bytes = Buffer.alloc(paddedBytes);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, index * 4);
  return bytes;
}
