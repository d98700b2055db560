import type { SideCounters } from "../router.ts";
import type { Side } from "../routing.ts";
import type { NginxConfig } from "./config.ts";
import type { LogFile } from "./host.ts";

/** `log_format` of nginx: the upstream, the status, the seconds until the last byte was sent. */
export const LOG_FORMAT = "$doppel_side $status $request_time";

const CHUNK_BYTES = 256 * 1024;
const LATEST_REQUESTS = 1024;
/** nginx's own status for a client that did not wait. */
const CLIENT_CLOSED = 499;

interface Count extends SideCounters {
  latest: number[];
}

/** Counts what nginx writes to its log from the first look on; a log that was rotated is begun anew. */
export class AccessLog {
  readonly #log: LogFile;
  readonly #sideOf: ReadonlyMap<string, Side>;
  readonly #counts: Record<Side, Count> = { old: zero(), new: zero() };
  #position: { inode: number; offset: number } | undefined;
  #rest = "";

  constructor(log: LogFile, backends: NginxConfig["backends"]) {
    this.#log = log;
    this.#sideOf = new Map([
      [backends.old, "old"],
      [backends.new, "new"],
    ]);
  }

  /** Throws with the system's code when there is no log. */
  async read(): Promise<Record<Side, SideCounters>> {
    const { inode, sizeBytes } = await this.#log.stat();
    this.#position ??= { inode, offset: sizeBytes };
    if (this.#position.inode !== inode || sizeBytes < this.#position.offset) {
      this.#position = { inode, offset: 0 };
      this.#rest = "";
    }
    await this.#readOn(this.#position, sizeBytes);
    return { old: countersOf(this.#counts.old), new: countersOf(this.#counts.new) };
  }

  async #readOn(position: { offset: number }, endBytes: number): Promise<void> {
    while (position.offset < endBytes) {
      const length = Math.min(CHUNK_BYTES, endBytes - position.offset);
      const lines = (this.#rest + (await this.#log.read(position.offset, length))).split("\n");
      position.offset += length;
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#count(line);
    }
  }

  #count(line: string): void {
    const [, backend = "", status, seconds] = /^(\S+) (\d{3}) (\d+\.\d+)$/.exec(line) ?? [];
    const side = this.#sideOf.get(backend);
    if (side === undefined) return;
    const count = this.#counts[side];
    const code = Number(status);
    count.requests++;
    if (code >= 500) count.errors++;
    else if (code >= 400 && code !== CLIENT_CLOSED) count.clientErrors++;
    count.latest.push(Number(seconds) * 1000);
    if (count.latest.length > 2 * LATEST_REQUESTS) count.latest = count.latest.slice(-LATEST_REQUESTS);
  }
}

function zero(): Count {
  return { requests: 0, errors: 0, clientErrors: 0, latest: [] };
}

function countersOf({ latest, ...counters }: Count): SideCounters {
  const times = latest.slice(-LATEST_REQUESTS);
  if (times.length === 0) return { ...counters };
  return { ...counters, responseMs: times.reduce((sum, one) => sum + one, 0) / times.length };
}
