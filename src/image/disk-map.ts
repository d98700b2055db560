import { DoppelError, messageOf } from "../errors.ts";
import { type ByteSource, readRange } from "./byte-source.ts";
import { CLUSTER_BYTES, clusterCount } from "./cluster.ts";
import { MAX_PACK_FRAMES } from "./pack.ts";
import { recordLayout } from "./record.ts";

/** A run of clusters whose content is a run of frames of one pack. */
export interface Extent {
  firstCluster: number;
  count: number;
  /** Index into the map's pack table. */
  pack: number;
  firstFrame: number;
}

export interface MapPack {
  /** `sha256:` and 64 hexadecimal digits. */
  digest: string;
  sizeBytes: number;
  frameCount: number;
}

const MAP_MAGIC = Buffer.from("DOPPELDM", "latin1");
const FOOTER_MAGIC = Buffer.from("DMFOOTER", "latin1");
const MAX_PACKS = 1_048_576;
const EXTENTS_A_READ = 8192;

/** docs/image-format.md, Disk map. */
const HEADER = recordLayout("little", 32, {
  magic: [0, "bytes8"],
  version: [8, "u32"],
  clusterBytes: [12, "u32"],
  diskBytes: [16, "u64"],
});
const EXTENT = recordLayout("little", 24, {
  firstCluster: [0, "u64"],
  count: [8, "u32"],
  pack: [12, "u32"],
  firstFrame: [16, "u32"],
});
const PACK = recordLayout("little", 48, {
  digest: [0, "bytes32"],
  sizeBytes: [32, "u64"],
  frameCount: [40, "u32"],
});
const FOOTER = recordLayout("little", 32, {
  extentCount: [0, "u64"],
  packCount: [8, "u32"],
  coveredClusters: [16, "u64"],
  magic: [24, "bytes8"],
});

/**
 * Encodes a disk map as a stream: the header, the extents as they come, then the pack table and the footer.
 * Extents that continue one another are merged; they must ascend.
 */
export class DiskMapEncoder {
  #pending: Extent | undefined;
  #extentCount = 0;
  #coveredClusters = 0;
  #nextCluster = 0;
  readonly diskBytes: number;

  constructor(diskBytes: number) {
    this.diskBytes = diskBytes;
  }

  get coveredClusters(): number {
    return this.#coveredClusters;
  }

  header(): Buffer {
    return HEADER.write({
      magic: MAP_MAGIC,
      version: 1,
      clusterBytes: CLUSTER_BYTES,
      diskBytes: this.diskBytes,
    });
  }

  /** Takes the next extent; returns the bytes to append, often none. */
  add(extent: Extent): Buffer | undefined {
    const end = extent.firstCluster + extent.count;
    if (extent.firstCluster < this.#nextCluster || end > clusterCount(this.diskBytes) || extent.count < 1) {
      throw new RangeError(
        `extent at cluster ${extent.firstCluster}, ${extent.count} long, is out of order or range`,
      );
    }
    this.#nextCluster = end;
    this.#coveredClusters += extent.count;
    const last = this.#pending;
    if (last && continues(last, extent)) {
      last.count += extent.count;
      return undefined;
    }
    this.#pending = { ...extent };
    return last && this.#encode(last);
  }

  /** The last extent, the pack table and the footer. */
  finish(packs: readonly MapPack[]): Buffer {
    const parts: Buffer[] = [];
    if (this.#pending) parts.push(this.#encode(this.#pending));
    this.#pending = undefined;
    for (const pack of packs) {
      const digest = Buffer.from(pack.digest.replace(/^sha256:/, ""), "hex");
      parts.push(PACK.write({ digest, sizeBytes: pack.sizeBytes, frameCount: pack.frameCount }));
    }
    parts.push(
      FOOTER.write({
        extentCount: this.#extentCount,
        packCount: packs.length,
        coveredClusters: this.#coveredClusters,
        magic: FOOTER_MAGIC,
      }),
    );
    return Buffer.concat(parts);
  }

  #encode(extent: Extent): Buffer {
    this.#extentCount++;
    return EXTENT.write({ ...extent });
  }
}

function continues(last: Extent, next: Extent): boolean {
  return (
    last.pack === next.pack &&
    last.firstCluster + last.count === next.firstCluster &&
    last.firstFrame + last.count === next.firstFrame &&
    last.count + next.count < 2 ** 32
  );
}

/** An opened disk map: its packs in memory, its extents read in batches. */
export class DiskMap {
  readonly diskBytes: number;
  readonly packs: readonly MapPack[];
  readonly extentCount: number;
  /** Clusters that some extent covers. */
  readonly coveredClusters: number;
  readonly #source: ByteSource;

  private constructor(source: ByteSource, diskBytes: number, packs: MapPack[], footer: FooterValues) {
    this.#source = source;
    this.diskBytes = diskBytes;
    this.packs = packs;
    this.extentCount = footer.extentCount;
    this.coveredClusters = footer.coveredClusters;
  }

  /** Reads header, footer and pack table. Throws `map-corrupt`, naming `name`, when anything contradicts. */
  static async open(source: ByteSource, name: string): Promise<DiskMap> {
    if (source.sizeBytes < HEADER.sizeBytes + FOOTER.sizeBytes)
      throw corrupt(name, `it has ${source.sizeBytes} bytes`);
    const header = checked(name, HEADER.read, await readRange(source, 0, HEADER.sizeBytes));
    const footerBytes = await readRange(source, source.sizeBytes - FOOTER.sizeBytes, FOOTER.sizeBytes);
    const footer = checked(name, FOOTER.read, footerBytes);
    if (!header.magic.equals(MAP_MAGIC) || !footer.magic.equals(FOOTER_MAGIC))
      throw corrupt(name, "its magic is wrong");
    if (header.version !== 1 || header.clusterBytes !== CLUSTER_BYTES) {
      throw corrupt(
        name,
        `version ${header.version} with clusters of ${header.clusterBytes} bytes is not known here`,
      );
    }
    if (footer.packCount > MAX_PACKS) throw corrupt(name, `it claims ${footer.packCount} packs`);
    const extentsBytes = footer.extentCount * EXTENT.sizeBytes;
    const packsBytes = footer.packCount * PACK.sizeBytes;
    const expected = HEADER.sizeBytes + extentsBytes + packsBytes + FOOTER.sizeBytes;
    if (expected !== source.sizeBytes)
      throw corrupt(name, `it describes ${expected} bytes and has ${source.sizeBytes}`);
    const table = await readRange(source, HEADER.sizeBytes + extentsBytes, packsBytes);
    return new DiskMap(source, header.diskBytes, readPackTable(table, name), footer);
  }

  /** The extents, ascending, in batches; each is checked against the disk and its pack. */
  async *extents(): AsyncGenerator<Extent[]> {
    let nextCluster = 0;
    for (let start = 0; start < this.extentCount; start += EXTENTS_A_READ) {
      const batch = await this.extentsAt(
        start,
        Math.min(EXTENTS_A_READ, this.extentCount - start),
        nextCluster,
      );
      nextCluster = endOf(batch.at(-1));
      yield batch;
    }
  }

  /** Extents `start` to `start + count`, of which none begins before `firstCluster`; checked as `extents` does. */
  async extentsAt(start: number, count: number, firstCluster = 0): Promise<Extent[]> {
    const at = HEADER.sizeBytes + start * EXTENT.sizeBytes;
    const bytes = await readRange(this.#source, at, count * EXTENT.sizeBytes);
    const batch: Extent[] = [];
    let nextCluster = firstCluster;
    for (let i = 0; i < count; i++) {
      const name = `of ${this.diskBytes} bytes`;
      const extent = checked(name, (b) => EXTENT.read(b, i * EXTENT.sizeBytes), bytes);
      this.#check(extent, nextCluster);
      nextCluster = endOf(extent);
      batch.push(extent);
    }
    return batch;
  }

  #check(extent: Extent, nextCluster: number): void {
    const frames = this.packs[extent.pack]?.frameCount ?? 0;
    const ends = extent.firstCluster + extent.count;
    const fits = extent.count > 0 && extent.firstFrame + extent.count <= frames;
    if (!fits || extent.firstCluster < nextCluster || ends > clusterCount(this.diskBytes)) {
      throw corrupt(
        `of ${this.diskBytes} bytes`,
        `the extent at cluster ${extent.firstCluster} is out of order or range`,
      );
    }
  }
}

function endOf(extent: Extent | undefined): number {
  return extent === undefined ? 0 : extent.firstCluster + extent.count;
}

type FooterValues = ReturnType<typeof FOOTER.read>;

function readPackTable(table: Buffer, name: string): MapPack[] {
  const packs: MapPack[] = [];
  for (let at = 0; at < table.length; at += PACK.sizeBytes) {
    const pack = checked(name, (b) => PACK.read(b, at), table);
    if (pack.frameCount < 1 || pack.frameCount > MAX_PACK_FRAMES) {
      throw corrupt(name, `pack ${packs.length} claims ${pack.frameCount} frames`);
    }
    const digest = `sha256:${pack.digest.toString("hex")}`;
    packs.push({ digest, sizeBytes: pack.sizeBytes, frameCount: pack.frameCount });
  }
  return packs;
}

function checked<T>(name: string, read: (bytes: Buffer) => T, bytes: Buffer): T {
  try {
    return read(bytes);
  } catch (error) {
    throw corrupt(name, messageOf(error));
  }
}

function corrupt(name: string, what: string): DoppelError {
  return new DoppelError("map-corrupt", `disk map ${name} is corrupt: ${what}`, {
    hint: "run 'doppel images verify' on the image to see what it hurts",
  });
}
