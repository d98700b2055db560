/** A run of bytes of an export with one allocation status. */
export interface StatusExtent {
  lengthBytes: number;
  /** Nothing is stored for it. */
  hole: boolean;
  /** It reads as zeros. */
  zero: boolean;
}

/** A run of bytes that were read: their content, or zeros. */
export type ReadPiece = { data: Buffer } | { zeroBytes: number };

/**
 * What an NBD server offers: a disk. Ranges are checked before they come here: within the disk, not empty.
 * A failure of a method becomes an error of that one request.
 */
export interface BlockExport {
  /** What a client asks for; the empty name means the first export of a server. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly writable: boolean;
  /** The pieces of a range, in order; their buffers may be sent, not changed. */
  read(offsetBytes: number, lengthBytes: number): Promise<ReadPiece[]>;
  /** The status of a range, about `most` runs; may end before the range does, never empty. */
  status(offsetBytes: number, lengthBytes: number, most: number): Promise<StatusExtent[]>;
  /** Reads a range into the cache. */
  prefetch(offsetBytes: number, lengthBytes: number): Promise<void>;
  write(offsetBytes: number, data: Buffer): Promise<void>;
  /** Makes a range zeros; `keepAllocated`: not a hole. */
  zero(offsetBytes: number, lengthBytes: number, keepAllocated: boolean): Promise<void>;
  flush(): Promise<void>;
}
