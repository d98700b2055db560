import { CLUSTER_BYTES, clusterCount, RAW_FRAME_BYTES } from "../../image/cluster.ts";
import type { DiskReader } from "../../image/disk-reader.ts";
import { recordLayout } from "../../image/record.ts";
import { eachFrame, frameChunks } from "../frame-chunks.ts";

/** Entries of one L2 table: one cluster of 8-byte entries. */
export const L2_ENTRIES = CLUSTER_BYTES / 8;

/** Entries of one refcount block: 16 bits each (refcount_order 4). */
export const REFCOUNT_ENTRIES = CLUSTER_BYTES / 2;

/** QEMU docs/interop/qcow2.txt, "Header" and "Additional fields (version 3 and higher)". */
export const HEADER = recordLayout("big", 112, {
  magic: [0, "u32"],
  version: [4, "u32"],
  backingFileOffset: [8, "u64"],
  backingFileSize: [16, "u32"],
  clusterBits: [20, "u32"],
  size: [24, "u64"],
  cryptMethod: [32, "u32"],
  l1Size: [36, "u32"],
  l1TableOffset: [40, "u64"],
  refcountTableOffset: [48, "u64"],
  refcountTableClusters: [56, "u32"],
  snapshotCount: [60, "u32"],
  snapshotsOffset: [64, "u64"],
  incompatibleFeatures: [72, "u64"],
  compatibleFeatures: [80, "u64"],
  autoclearFeatures: [88, "u64"],
  refcountOrder: [96, "u32"],
  headerLength: [100, "u32"],
  compressionType: [104, "u8"],
});

/** Where each region of the file starts, in clusters of the file, and how long it is. Regions follow one another. */
export interface Qcow2Layout {
  virtualBytes: number;
  l1Entries: number;
  refcountTable: Region;
  refcountBlocks: Region;
  l1Table: Region;
  l2Tables: Region;
  /** Compressed clusters, packed at byte granularity. */
  compressed: Region & { bytes: number };
  /** Clusters that do not compress, each in a cluster of its own. */
  plain: Region;
  fileClusters: number;
}

interface Region {
  first: number;
  clusters: number;
}

/** Counts what the disk needs, then lays the regions out: header, refcounts, L1, L2, compressed, plain. */
export async function planQcow2(disk: DiskReader): Promise<Qcow2Layout> {
  let l2Tables = 0;
  let lastTable = -1;
  let compressedBytes = 0;
  let plainClusters = 0;
  for await (const chunk of frameChunks(disk)) {
    eachFrame(chunk, (_frame, cluster, lengthBytes) => {
      const table = Math.floor(cluster / L2_ENTRIES);
      if (table !== lastTable) l2Tables++;
      lastTable = table;
      if (lengthBytes === RAW_FRAME_BYTES) plainClusters++;
      else compressedBytes += lengthBytes;
    });
  }
  return layOut({ diskBytes: disk.diskBytes, l2Tables, compressedBytes, plainClusters });
}

interface Counts {
  diskBytes: number;
  l2Tables: number;
  compressedBytes: number;
  plainClusters: number;
}

/** The layout from the counts alone. Refcounts cover themselves, so their size is found by iteration. */
export function layOut(counts: Counts): Qcow2Layout {
  const l1Entries = Math.ceil(clusterCount(counts.diskBytes) / L2_ENTRIES);
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / CLUSTER_BYTES));
  const compressedClusters = Math.ceil(counts.compressedBytes / CLUSTER_BYTES);
  const others = 1 + l1Clusters + counts.l2Tables + compressedClusters + counts.plainClusters;
  let blocks = 1;
  let tables = 1;
  for (;;) {
    const neededBlocks = Math.ceil((others + blocks + tables) / REFCOUNT_ENTRIES);
    const neededTables = Math.ceil((neededBlocks * 8) / CLUSTER_BYTES);
    if (neededBlocks === blocks && neededTables === tables) break;
    blocks = neededBlocks;
    tables = neededTables;
  }
  let next = 1;
  const region = (clusters: number): Region => {
    const first = next;
    next += clusters;
    return { first, clusters };
  };
  return {
    virtualBytes: Math.ceil(counts.diskBytes / 512) * 512,
    l1Entries,
    refcountTable: region(tables),
    refcountBlocks: region(blocks),
    l1Table: region(l1Clusters),
    l2Tables: region(counts.l2Tables),
    compressed: { ...region(compressedClusters), bytes: counts.compressedBytes },
    plain: region(counts.plainClusters),
    fileClusters: next,
  };
}

/** The header: version 3, 64 KiB clusters, 16-bit refcounts, compression type zstd. */
export function encodeHeader(layout: Qcow2Layout): Buffer {
  return HEADER.write({
    magic: 0x514649fb,
    version: 3,
    backingFileOffset: 0,
    backingFileSize: 0,
    clusterBits: 16,
    size: layout.virtualBytes,
    cryptMethod: 0,
    l1Size: layout.l1Entries,
    l1TableOffset: layout.l1Table.first * CLUSTER_BYTES,
    refcountTableOffset: layout.refcountTable.first * CLUSTER_BYTES,
    refcountTableClusters: layout.refcountTable.clusters,
    snapshotCount: 0,
    snapshotsOffset: 0,
    // Bit 3: the compression type is not deflate.
    incompatibleFeatures: 8,
    compatibleFeatures: 0,
    autoclearFeatures: 0,
    refcountOrder: 4,
    headerLength: HEADER.sizeBytes,
    compressionType: 1,
  });
}
