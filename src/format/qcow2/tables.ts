import assert from "node:assert";
import { CLUSTER_BYTES } from "../../image/cluster.ts";
import { L2_ENTRIES, type Qcow2Layout, REFCOUNT_ENTRIES } from "./layout.ts";

/** Takes tables at their places in the file: an OutputFile, or what hands them on in order. */
export interface TableSink {
  writeAt(table: Buffer, offsetBytes: number): Promise<void>;
}

const SECTOR_BYTES = 512;
const TWO_32 = 2 ** 32;

/** Bit 62 of an L2 entry: the cluster is compressed. */
const COMPRESSED_HIGH = 0x4000_0000;
/** Bit 63 of an L1 or L2 entry: the refcount is exactly one. */
const COPIED_HIGH = 0x8000_0000;
/** A compressed entry's sector count starts at bit 62 - (16 - 8) = 54 with 64 KiB clusters. */
const SECTORS_SHIFT = 54 - 32;

/** Writes an L1 entry or the L2 entry of a plain cluster (qcow2.txt, "L1 table entry", "Standard Cluster Descriptor"). */
export function writePlainEntry(table: Buffer, entry: number, offsetBytes: number): void {
  assert(offsetBytes % CLUSTER_BYTES === 0);
  table.writeUInt32BE((COPIED_HIGH + Math.floor(offsetBytes / TWO_32)) >>> 0, entry * 8);
  table.writeUInt32BE(offsetBytes % TWO_32, entry * 8 + 4);
}

/** Writes the L2 entry of a compressed cluster (qcow2.txt, "Compressed Clusters Descriptor"). */
export function writeCompressedEntry(
  table: Buffer,
  entry: number,
  offsetBytes: number,
  lengthBytes: number,
): void {
  const lastSector = Math.floor((offsetBytes + lengthBytes - 1) / SECTOR_BYTES);
  const moreSectors = lastSector - Math.floor(offsetBytes / SECTOR_BYTES);
  assert(moreSectors < 256 && offsetBytes < 2 ** 54);
  const high = COMPRESSED_HIGH + moreSectors * 2 ** SECTORS_SHIFT + Math.floor(offsetBytes / TWO_32);
  table.writeUInt32BE(high, entry * 8);
  table.writeUInt32BE(offsetBytes % TWO_32, entry * 8 + 4);
}

/** Writes the L1 table and the L2 tables, whose entries come in the order of the disk. Memory: the L1, one L2 table. */
export class MappingWriter {
  readonly #output: TableSink;
  readonly #layout: Qcow2Layout;
  readonly #l1: Buffer;
  #l2 = Buffer.alloc(CLUSTER_BYTES);
  #table = -1;
  #tablesWritten = 0;

  constructor(output: TableSink, layout: Qcow2Layout) {
    this.#output = output;
    this.#layout = layout;
    this.#l1 = Buffer.alloc(layout.l1Table.clusters * CLUSTER_BYTES);
  }

  /** True when the table before that of `cluster` is complete and `flush` must be called first. */
  needsFlush(cluster: number): boolean {
    return this.#table >= 0 && Math.floor(cluster / L2_ENTRIES) !== this.#table;
  }

  plain(cluster: number, offsetBytes: number): void {
    this.#select(cluster);
    writePlainEntry(this.#l2, cluster % L2_ENTRIES, offsetBytes);
  }

  compressed(cluster: number, offsetBytes: number, lengthBytes: number): void {
    this.#select(cluster);
    writeCompressedEntry(this.#l2, cluster % L2_ENTRIES, offsetBytes, lengthBytes);
  }

  /** Writes the current table. The next one may be filled at once: this one's buffer is given away. */
  async flush(): Promise<void> {
    if (this.#table < 0) return;
    const offsetBytes = (this.#layout.l2Tables.first + this.#tablesWritten) * CLUSTER_BYTES;
    assert(this.#tablesWritten < this.#layout.l2Tables.clusters);
    writePlainEntry(this.#l1, this.#table, offsetBytes);
    const complete = this.#l2;
    this.#l2 = Buffer.alloc(CLUSTER_BYTES);
    this.#tablesWritten++;
    this.#table = -1;
    await this.#output.writeAt(complete, offsetBytes);
  }

  async finish(): Promise<void> {
    await this.flush();
    assert.strictEqual(this.#tablesWritten, this.#layout.l2Tables.clusters);
    await this.#output.writeAt(this.#l1, this.#layout.l1Table.first * CLUSTER_BYTES);
  }

  #select(cluster: number): void {
    const table = Math.floor(cluster / L2_ENTRIES);
    assert(this.#table < 0 || this.#table === table);
    this.#table = table;
  }
}

/**
 * Writes refcount table and blocks (qcow2.txt, "Host cluster management"). Counts come in the order of the file:
 * one for each cluster, but a cluster of the compressed region counts every compressed cluster that touches it.
 */
export class RefcountWriter {
  readonly #output: TableSink;
  readonly #layout: Qcow2Layout;
  #block = Buffer.alloc(CLUSTER_BYTES);
  #inBlock = 0;
  #blocksWritten = 0;
  /** Compressed clusters that touch the current cluster of the file, and the next one. */
  #touching = 0;
  #touchingNext = 0;
  #compressedCluster = 0;
  readonly #pending: Buffer[] = [];

  constructor(output: TableSink, layout: Qcow2Layout) {
    this.#output = output;
    this.#layout = layout;
    this.#addOnes(layout.compressed.first);
    this.#compressedCluster = layout.compressed.first;
  }

  /** Counts a compressed cluster; offsets ascend. */
  touch(offsetBytes: number, lengthBytes: number): void {
    const first = Math.floor(offsetBytes / CLUSTER_BYTES);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / CLUSTER_BYTES);
    while (this.#compressedCluster < first) this.#advance();
    assert(first === this.#compressedCluster && last - first <= 1);
    this.#touching++;
    if (last > first) this.#touchingNext++;
  }

  async flush(): Promise<void> {
    for (let block = this.#pending.shift(); block; block = this.#pending.shift()) {
      const cluster = this.#layout.refcountBlocks.first + this.#blocksWritten++;
      await this.#output.writeAt(block, cluster * CLUSTER_BYTES);
    }
  }

  async finish(): Promise<void> {
    const { compressed, plain, refcountBlocks, refcountTable } = this.#layout;
    while (this.#compressedCluster < compressed.first + compressed.clusters) this.#advance();
    this.#addOnes(plain.clusters);
    if (this.#inBlock > 0) this.#completeBlock();
    await this.flush();
    assert.strictEqual(this.#blocksWritten, refcountBlocks.clusters);
    await this.#output.writeAt(encodeRefcountTable(this.#layout), refcountTable.first * CLUSTER_BYTES);
  }

  #advance(): void {
    this.#add(this.#touching);
    this.#touching = this.#touchingNext;
    this.#touchingNext = 0;
    this.#compressedCluster++;
  }

  #add(count: number): void {
    this.#block.writeUInt16BE(count, this.#inBlock * 2);
    this.#inBlock++;
    if (this.#inBlock === REFCOUNT_ENTRIES) this.#completeBlock();
  }

  #addOnes(count: number): void {
    for (let i = 0; i < count; i++) this.#add(1);
  }

  #completeBlock(): void {
    this.#pending.push(this.#block);
    this.#block = Buffer.alloc(CLUSTER_BYTES);
    this.#inBlock = 0;
  }
}

/** The refcount table, which names the refcount blocks. */
export function encodeRefcountTable({ refcountTable, refcountBlocks }: Qcow2Layout): Buffer {
  const table = Buffer.alloc(refcountTable.clusters * CLUSTER_BYTES);
  for (let block = 0; block < refcountBlocks.clusters; block++)
    table.writeBigUInt64BE(BigInt(refcountBlocks.first + block) * BigInt(CLUSTER_BYTES), block * 8);
  return table;
}
