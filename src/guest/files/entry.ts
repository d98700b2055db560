/** A file of a guest as find(1) tells of it. */
export interface FileEntry {
  /** Bytes, without a leading slash: a name may be anything but zero bytes. Empty: the root. */
  path: Buffer;
  /** find's `%y`: f, d, l, b, c, p, s. */
  type: string;
  mode: number;
  uid: number;
  gid: number;
  sizeBytes: number;
  /** Seconds, as text: they have ten digits behind the point. */
  mtime: string;
  ctime: string;
  /** Where a symbolic link leads. */
  target: Buffer;
}

/** What find is to print of a file. A path has no two slashes in a row, so that these end it; a zero byte ends the record. */
export const ENTRY_FORMAT = "%y %m %U %G %s %T@ %C@ %P//%l\\0";
/** The fields before the path, counted from 1: what sort(1) is to go by. */
export const PATH_FIELD = 8;

const PATH_END = Buffer.from("//");
const FIELDS = /^(\S) ([0-7]+) (\d+) (\d+) (\d+) (-?[\d.]+) (-?[\d.]+) $/;

/** Parses a record of `ENTRY_FORMAT`; undefined when it is none. */
export function parseEntry(record: Buffer): FileEntry | undefined {
  let at = -1;
  for (let field = 1; field < PATH_FIELD; field++) at = record.indexOf(0x20, at + 1);
  const end = record.indexOf(PATH_END, at + 1);
  const fields = FIELDS.exec(record.toString("latin1", 0, at + 1));
  if (!fields || end < 0) return undefined;
  const [, type = "", mode = "", uid, gid, size, mtime = "", ctime = ""] = fields;
  return {
    path: record.subarray(at + 1, end),
    type,
    mode: Number.parseInt(mode, 8),
    uid: Number(uid),
    gid: Number(gid),
    sizeBytes: Number(size),
    mtime,
    ctime,
    target: record.subarray(end + PATH_END.length),
  };
}

/** The order in which records are sorted: by the bytes of the path and its end. */
export function comparePaths(a: FileEntry, b: FileEntry): number {
  return Buffer.compare(Buffer.concat([a.path, PATH_END]), Buffer.concat([b.path, PATH_END]));
}
