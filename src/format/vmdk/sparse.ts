import { DoppelError, EXIT } from "../../errors.ts";
import { CLUSTER_BYTES } from "../../image/cluster.ts";
import type { DiskReader } from "../../image/disk-reader.ts";
import type { OutputFile } from "../../output-file.ts";
import type { DiskFormat, PreparedDisk, WriteOptions } from "../format.ts";
import {
  CHUNK_ROOM_BYTES,
  chunkDiskBytes,
  decodedClusters,
  frameChunks,
  readChunk,
} from "../frame-chunks.ts";
import { GrainTables, littleEndian } from "./grain-tables.ts";
import {
  DESCRIPTOR_SECTORS,
  encodeDescriptor,
  encodeHeader,
  GRAIN_SECTORS,
  MOST_FILE_SECTORS,
  SECTOR_BYTES,
  sectorsOf,
  TABLE_ENTRIES,
  TABLE_SECTORS,
} from "./header.ts";

/** VMDK monolithicSparse, for workstation products: grains as they are, every table twice. */
export const monolithicSparseFormat: DiskFormat = {
  name: "vmdk-sparse",
  extensions: [],
  async prepare(disk): Promise<PreparedDisk> {
    const layout = planSparse(disk);
    return {
      occupiedBytes: layout.firstGrainSector * SECTOR_BYTES + disk.map.coveredClusters * CLUSTER_BYTES,
      write: (output, options) => writeSparse(disk, layout, output, options),
    };
  },
};

interface SparseLayout {
  capacitySectors: number;
  tables: number;
  redundantDirectorySector: number;
  directorySector: number;
  firstGrainSector: number;
}

/** Header, descriptor, then each directory with its tables behind it, then grains. */
function planSparse(disk: DiskReader): SparseLayout {
  const capacitySectors = sectorsOf(disk.diskBytes);
  const tables = Math.ceil(capacitySectors / (GRAIN_SECTORS * TABLE_ENTRIES));
  const bothSectors = directorySectors(tables) + tables * TABLE_SECTORS;
  const redundantDirectorySector = 1 + DESCRIPTOR_SECTORS;
  const directorySector = redundantDirectorySector + bothSectors;
  const firstGrainSector = Math.ceil((directorySector + bothSectors) / GRAIN_SECTORS) * GRAIN_SECTORS;
  if (firstGrainSector + disk.map.coveredClusters * GRAIN_SECTORS > MOST_FILE_SECTORS) {
    throw new DoppelError("vmdk-too-large", "a sparse VMDK cannot have more than 2 TiB", {
      hint: "export to qcow2 or raw",
      exitCode: EXIT.refused,
    });
  }
  return { capacitySectors, tables, redundantDirectorySector, directorySector, firstGrainSector };
}

function directorySectors(tables: number): number {
  return Math.ceil((tables * 4) / SECTOR_BYTES);
}

async function writeSparse(
  disk: DiskReader,
  layout: SparseLayout,
  output: OutputFile,
  options: WriteOptions,
): Promise<void> {
  const { tables, redundantDirectorySector, directorySector, firstGrainSector, capacitySectors } = layout;
  const totalBytes = disk.map.coveredClusters * CLUSTER_BYTES;
  await output.truncate(firstGrainSector * SECTOR_BYTES + totalBytes);
  const grainTables = new GrainTables(capacitySectors, GRAIN_SECTORS);
  const tableSector = (directory: number, table: number) =>
    directory + directorySectors(tables) + table * TABLE_SECTORS;
  const flush = async () => {
    const closed = grainTables.flush(0);
    if (!closed) return;
    for (const directory of [redundantDirectorySector, directorySector])
      await output.writeAt(closed.bytes, tableSector(directory, closed.number) * SECTOR_BYTES);
  };
  let sector = firstGrainSector;
  let doneBytes = 0;
  const buffer = Buffer.allocUnsafeSlow(CHUNK_ROOM_BYTES);
  for await (const chunk of frameChunks(disk)) {
    options.signal?.throwIfAborted();
    const bytes = await readChunk(disk, chunk, buffer);
    for (const { cluster, content } of decodedClusters(disk, chunk, bytes)) {
      if (grainTables.needsFlush(cluster)) await flush();
      grainTables.add(cluster, sector);
      await output.writeAt(content, sector * SECTOR_BYTES);
      sector += GRAIN_SECTORS;
    }
    doneBytes += chunkDiskBytes(chunk);
    options.onProgress?.({ doneBytes, totalBytes });
  }
  await flush();
  for (const directory of [redundantDirectorySector, directorySector]) {
    const entries = Uint32Array.from({ length: tables }, (_, table) => tableSector(directory, table));
    await output.writeAt(
      littleEndian(entries, directorySectors(tables) * SECTOR_BYTES),
      directory * SECTOR_BYTES,
    );
  }
  await output.writeAt(encodeDescriptor(disk, "monolithicSparse", capacitySectors), SECTOR_BYTES);
  const header = encodeHeader({
    subformat: "monolithicSparse",
    capacitySectors,
    redundantDirectorySector: BigInt(redundantDirectorySector),
    directorySector: BigInt(directorySector),
    overheadSectors: firstGrainSector,
  });
  await output.writeAt(header, 0);
}
