import { HASH_BYTES } from "../image/cluster.ts";
import type { HashRun } from "../image/pack-hashes.ts";
import { encodeHave, MOST_HASHES } from "./wire-have.ts";

/** The hashes of what the host has of each disk that is compared, ascending by cluster; undefined for the others. */
export type KnownHashes = readonly ((() => AsyncGenerator<HashRun, void>) | undefined)[];

/**
 * Sends the agent the hashes of what the host has, of one disk at a time and never more than it has asked for. A source of
 * hashes that fails ends the stream, so that the agent goes on; `throwIfFailed` has the reason.
 */
export class HaveSender {
  readonly #known: KnownHashes;
  readonly #send: (payload: Buffer) => void;
  #stream: DiskStream | undefined;
  #failure: { reason: unknown } | undefined;

  constructor(known: KnownHashes, send: (payload: Buffer) => void) {
    this.#known = known;
    this.#send = send;
  }

  /** Allows `hashes` more of a disk; the first time starts the disk, and ends the one before. */
  grant(disk: number, hashes: number): void {
    if (this.#stream?.disk !== disk) {
      this.#stream?.end();
      const source = this.#known[disk];
      this.#stream = new DiskStream(disk, source ? source() : nothing(), this.#send);
    }
    void this.#stream.grant(hashes).catch((reason: unknown) => {
      this.#failure ??= { reason };
    });
  }

  throwIfFailed(): void {
    if (this.#failure) throw this.#failure.reason;
  }

  end(): void {
    this.#stream?.end();
  }
}

class DiskStream {
  readonly disk: number;
  readonly #runs: AsyncGenerator<HashRun, void>;
  readonly #send: (payload: Buffer) => void;
  #allowed = 0;
  #rest: HashRun | undefined;
  #running: Promise<void> | undefined;
  #ended = false;

  constructor(disk: number, runs: AsyncGenerator<HashRun, void>, send: (payload: Buffer) => void) {
    this.disk = disk;
    this.#runs = runs;
    this.#send = send;
  }

  end(): void {
    this.#ended = true;
  }

  async grant(hashes: number): Promise<void> {
    this.#allowed += hashes;
    this.#running ??= this.#pump().finally(() => {
      this.#running = undefined;
    });
    await this.#running;
  }

  async #pump(): Promise<void> {
    while (this.#allowed > 0 && !this.#ended) {
      const { runs, last } = await this.#gather(Math.min(this.#allowed, MOST_HASHES));
      if (this.#ended) return;
      for (const { hashes } of runs) this.#allowed -= hashes.length / HASH_BYTES;
      this.#ended = last;
      this.#send(encodeHave(this.disk, runs, last));
    }
  }

  async #gather(most: number): Promise<{ runs: HashRun[]; last: boolean }> {
    const runs: HashRun[] = [];
    try {
      for (let left = most; left > 0; ) {
        const run = this.#rest ?? (await this.#next());
        if (!run) return { runs, last: true };
        const taken = Math.min(left, run.hashes.length / HASH_BYTES);
        runs.push({ firstCluster: run.firstCluster, hashes: run.hashes.subarray(0, taken * HASH_BYTES) });
        this.#rest = restOf(run, taken);
        left -= taken;
      }
      return { runs, last: false };
    } catch (reason) {
      this.#ended = true;
      this.#send(encodeHave(this.disk, [], true));
      throw reason;
    }
  }

  async #next(): Promise<HashRun | undefined> {
    const { value, done } = await this.#runs.next();
    return done ? undefined : value;
  }
}

function restOf(run: HashRun, taken: number): HashRun | undefined {
  if (taken * HASH_BYTES === run.hashes.length) return undefined;
  return { firstCluster: run.firstCluster + taken, hashes: run.hashes.subarray(taken * HASH_BYTES) };
}

async function* nothing(): AsyncGenerator<HashRun, void> {}
