import { FOREIGN_FORMATS } from "./foreign.ts";
import type { DiskFormat } from "./format.ts";
import { qcow2Format } from "./qcow2/format.ts";
import { rawFormat } from "./raw.ts";
import { monolithicSparseFormat } from "./vmdk/sparse.ts";
import { streamOptimizedFormat } from "./vmdk/stream.ts";

/** Every format that a disk can be exported to; the first one where nothing says which. */
export const DISK_FORMATS: readonly DiskFormat[] = [
  qcow2Format,
  rawFormat,
  streamOptimizedFormat,
  monolithicSparseFormat,
  ...FOREIGN_FORMATS,
];
