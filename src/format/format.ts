import type { DiskReader } from "../image/disk-reader.ts";
import type { OutputFile } from "../output-file.ts";

export interface WriteProgress {
  doneBytes: number;
  totalBytes: number;
}

export interface WriteOptions {
  onProgress?: (progress: WriteProgress) => void;
  signal?: AbortSignal;
}

/** A disk prepared for writing in one format: its length is known before the first byte is written. */
export interface PreparedDisk {
  /** Bytes that the file will occupy. */
  occupiedBytes: number;
  write(output: OutputFile, options: WriteOptions): Promise<void>;
}

/** A file format that a disk can be exported to. To add one is to add a file, and a line in formats.ts. */
export interface DiskFormat {
  name: string;
  /** File name endings that mean this format. */
  extensions: readonly string[];
  prepare(disk: DiskReader): Promise<PreparedDisk>;
}
