import { extname } from "node:path";
import { DISK_EXTENSIONS } from "../import/disk-format.ts";

const FILE_EXTENSIONS = new Set([...DISK_EXTENSIONS, ".ova", ".ovf"]);

/**
 * What a word on the command line means, by its letters alone and never by what is there: a file begins with `/`, `./`, `../`
 * or `~/`, or ends as disk images do; an image has a tag that is no number, or a digest, or a slash in its name, which no host
 * has; all else is a machine.
 */
export function kindOfSubject(what: string): "file" | "image" | "machine" {
  if (/^(?:\/|\.\.?\/|~\/)/.test(what) || FILE_EXTENSIONS.has(extname(what).toLowerCase())) return "file";
  // A port is a number.
  if (/@sha256:[0-9a-f]{64}$/.test(what) || /^[^@[\]]+:(?!\d+$)[\w.-]+$/.test(what)) return "image";
  return /^[^@[\]]+\/[^@[\]]+$/.test(what) ? "image" : "machine";
}
