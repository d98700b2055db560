import assert from "node:assert";
import { CLUSTER_BYTES } from "../image/cluster.ts";
import type { ClusterReader } from "../image/cluster-reader.ts";
import type { ClusterChange } from "../store/child-writer.ts";
import type { BlockExport, ReadPiece, StatusExtent } from "./block-export.ts";
import { CHANGE, type Change, ChangedClusters } from "./changed-clusters.ts";
import type { ScratchFile } from "./scratch-file.ts";

const READ_AHEAD_BYTES = 1024 * 1024;

/**
 * A disk of an image as an NBD export; with a scratch file it can be written: changed clusters go there, the image
 * stays as it is. Writes go one after another, so that two that share a cluster do not lose one another.
 */
export class DiskExport implements BlockExport {
  readonly name: string;
  readonly sizeBytes: number;
  readonly #image: ClusterReader;
  readonly #scratch: ScratchFile | undefined;
  readonly #changed = new ChangedClusters();
  #writing: Promise<unknown> = Promise.resolve();
  #sequentialEnd = -1;

  constructor(name: string, image: ClusterReader, scratch?: ScratchFile) {
    this.name = name;
    this.sizeBytes = image.diskBytes;
    this.#image = image;
    this.#scratch = scratch;
  }

  get writable(): boolean {
    return this.#scratch !== undefined;
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<ReadPiece[]> {
    const end = offsetBytes + lengthBytes;
    const pieces: ReadPiece[] = [];
    for (const run of this.#runs(offsetBytes, end)) {
      const clusters = await this.#contents(run);
      for (const [index, cluster] of clusters.entries()) {
        const base = (run.firstCluster + index) * CLUSTER_BYTES;
        const from = Math.max(offsetBytes - base, 0);
        const to = Math.min(end - base, CLUSTER_BYTES);
        if (cluster) pieces.push({ data: cluster.subarray(from, to) });
        else addZeros(pieces, to - from);
      }
    }
    if (this.#sequentialEnd === offsetBytes) this.#readAhead(end);
    this.#sequentialEnd = end;
    return pieces;
  }

  async status(offsetBytes: number, lengthBytes: number, most: number): Promise<StatusExtent[]> {
    const end = offsetBytes + lengthBytes;
    const found: StatusExtent[] = [];
    let at = offsetBytes;
    const add = (to: number, hole: boolean, zero: boolean) => {
      const lengthBytes = Math.min(to, end) - at;
      if (lengthBytes <= 0) return;
      found.push({ lengthBytes, hole, zero });
      at += lengthBytes;
    };
    for (const { firstCluster, count, change } of this.#runs(offsetBytes, end)) {
      const runEnd = (firstCluster + count) * CLUSTER_BYTES;
      if (change === CHANGE.none) {
        for (const extent of await this.#image.extents(firstCluster, count)) {
          add(extent.firstCluster * CLUSTER_BYTES, true, true);
          add((extent.firstCluster + extent.count) * CLUSTER_BYTES, false, false);
        }
        add(runEnd, true, true);
      } else add(runEnd, change === CHANGE.hole, change !== CHANGE.written);
      if (found.length > most) break;
    }
    return found;
  }

  async prefetch(offsetBytes: number, lengthBytes: number): Promise<void> {
    const end = Math.min(offsetBytes + Math.min(lengthBytes, 16 * READ_AHEAD_BYTES), this.sizeBytes);
    for (let at = offsetBytes; at < end; at += READ_AHEAD_BYTES) {
      for (const run of this.#runs(at, Math.min(at + READ_AHEAD_BYTES, end)))
        if (run.change === CHANGE.none) await this.#image.clusters(run.firstCluster, run.count);
    }
  }

  async write(offsetBytes: number, data: Buffer): Promise<void> {
    await this.#exclusive(async (scratch) => {
      const end = offsetBytes + data.length;
      for (let at = offsetBytes; at < end; ) {
        const cluster = Math.floor(at / CLUSTER_BYTES);
        const whole = at % CLUSTER_BYTES === 0 ? Math.floor((end - at) / CLUSTER_BYTES) : 0;
        const next = whole > 0 ? at + whole * CLUSTER_BYTES : Math.min(end, (cluster + 1) * CLUSTER_BYTES);
        const piece = data.subarray(at - offsetBytes, next - offsetBytes);
        if (whole > 0 || this.#changed.get(cluster) === CHANGE.written) await scratch.write(piece, at);
        else await this.#writePart(scratch, cluster, piece, at % CLUSTER_BYTES);
        this.#changed.set(cluster, Math.max(whole, 1), CHANGE.written);
        at = next;
      }
    });
  }

  async zero(offsetBytes: number, lengthBytes: number, keepAllocated: boolean): Promise<void> {
    const end = offsetBytes + lengthBytes;
    const first = Math.ceil(offsetBytes / CLUSTER_BYTES);
    // The last cluster of the disk may be a part of one.
    const last = end === this.sizeBytes ? Math.ceil(end / CLUSTER_BYTES) : Math.floor(end / CLUSTER_BYTES);
    const edges =
      first < last
        ? [
            [offsetBytes, first * CLUSTER_BYTES],
            [last * CLUSTER_BYTES, end],
          ]
        : [[offsetBytes, end]];
    for (const [from = 0, to = 0] of edges) if (to > from) await this.write(from, Buffer.alloc(to - from));
    if (first >= last) return;
    await this.#exclusive(async () =>
      this.#changed.set(first, last - first, keepAllocated ? CHANGE.zero : CHANGE.hole),
    );
  }

  /** Nothing to do: the changes are kept when they are sealed, and not before. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  /** Every cluster that was written to, ascending; some may hold what they held before. */
  async *changes(): AsyncGenerator<ClusterChange> {
    await this.#writing;
    for (const { firstCluster, count, change } of this.#changed.runs()) {
      for (let cluster = firstCluster; cluster < firstCluster + count; cluster++) {
        const [content] = await this.#contents({ firstCluster: cluster, count: 1, change });
        yield { cluster, content };
      }
    }
  }

  /** Runs of clusters of one state that cover a range of bytes. */
  *#runs(offsetBytes: number, end: number): Generator<Run> {
    const last = Math.ceil(end / CLUSTER_BYTES);
    let firstCluster = Math.floor(offsetBytes / CLUSTER_BYTES);
    while (firstCluster < last) {
      const change = this.#changed.get(firstCluster);
      let count = 1;
      while (firstCluster + count < last && this.#changed.get(firstCluster + count) === change) count++;
      yield { firstCluster, count, change };
      firstCluster += count;
    }
  }

  async #contents({ firstCluster, count, change }: Run): Promise<(Buffer | undefined)[]> {
    if (change === CHANGE.none) return await this.#image.clusters(firstCluster, count);
    if (change !== CHANGE.written) return Array.from({ length: count });
    const bytes = Buffer.allocUnsafe(count * CLUSTER_BYTES);
    await this.#scratch?.read(bytes, firstCluster * CLUSTER_BYTES);
    return Array.from({ length: count }, (_, i) =>
      bytes.subarray(i * CLUSTER_BYTES, (i + 1) * CLUSTER_BYTES),
    );
  }

  /** A part of a cluster that is not in the scratch file yet: the whole cluster goes there. */
  async #writePart(scratch: ScratchFile, cluster: number, piece: Buffer, at: number): Promise<void> {
    const change = this.#changed.get(cluster);
    const [before] = await this.#contents({ firstCluster: cluster, count: 1, change });
    const whole = before ? Buffer.from(before) : Buffer.alloc(CLUSTER_BYTES);
    piece.copy(whole, at);
    await scratch.write(whole, cluster * CLUSTER_BYTES);
  }

  #readAhead(from: number): void {
    if (from >= this.sizeBytes) return;
    // A failure is met by the read itself.
    this.prefetch(from, Math.min(READ_AHEAD_BYTES, this.sizeBytes - from)).catch(() => {});
  }

  #exclusive<T>(work: (scratch: ScratchFile) => Promise<T>): Promise<T> {
    const scratch = this.#scratch;
    assert(scratch, "only an export with a scratch file is writable");
    const result = this.#writing.then(() => work(scratch));
    this.#writing = result.catch(() => {});
    return result;
  }
}

interface Run {
  firstCluster: number;
  count: number;
  change: Change;
}

function addZeros(pieces: ReadPiece[], zeroBytes: number): void {
  const last = pieces.at(-1);
  if (last && "zeroBytes" in last) last.zeroBytes += zeroBytes;
  else pieces.push({ zeroBytes });
}
