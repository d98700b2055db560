import type { DiskFormat } from "./format.ts";
import { qcow2Format } from "./qcow2/format.ts";
import { rawFormat } from "./raw.ts";

/** Every format that a disk can be exported to; the first one where nothing says which. */
export const DISK_FORMATS: readonly DiskFormat[] = [qcow2Format, rawFormat];
