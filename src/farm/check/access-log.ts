import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { DoppelError, systemErrorCode } from "../../errors.ts";

/** So many different requests are replayed; a log has millions. */
export const MOST_REPLAYED = 200;
const LONGEST = 4096;

/** The path of a read-only request in a line of an access log (common, combined, HAProxy's): GET alone; undefined for any other. */
export function readOnlyPath(line: string): string | undefined {
  const path = /"GET (\/\S*) HTTP\/[\d.]+"/.exec(line)?.[1];
  return path !== undefined && path.length <= LONGEST ? path : undefined;
}

/** The first different read-only requests of an access log, read line by line. `farm-part-missing` when it cannot be read. */
export async function readOnlyRequests(file: string, signal: AbortSignal): Promise<string[]> {
  const found = new Set<string>();
  const stream = createReadStream(file, { signal });
  try {
    for await (const line of createInterface({ input: stream })) {
      const path = readOnlyPath(line);
      if (path !== undefined) found.add(path);
      if (found.size >= MOST_REPLAYED) break;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw new DoppelError(
      "farm-part-missing",
      `the access log ${file} cannot be read: ${systemErrorCode(error)}`,
      {
        hint: 'name a file with lines such as: … "GET /path HTTP/1.1" 200 …',
        cause: error,
      },
    );
  } finally {
    stream.destroy();
  }
  return [...found];
}
