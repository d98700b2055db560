import type { DiskMap, Extent } from "./disk-map.ts";
import type { DiskReader } from "./disk-reader.ts";

/** A run of clusters. */
export interface ClusterRun {
  firstCluster: number;
  count: number;
}

/** A run of clusters that is one run of frames, or nothing but zeros, on either side. */
interface Segment extends ClusterRun {
  left: Place | undefined;
  right: Place | undefined;
}

interface Place {
  pack: number;
  frame: number;
}

/**
 * The runs of clusters in which two disks differ, ascending, found without decompressing anything: frames of one pack are the
 * same, others are when the hashes of their clusters are, and what no extent covers is zeros. Reads both maps once; memory
 * does not follow the disks' sizes.
 */
export async function* diffDisks(left: DiskReader, right: DiskReader): AsyncGenerator<ClusterRun, void> {
  yield* joined(differingRuns(left, right));
}

/**
 * The runs of clusters, ascending, that are not the same frame of the same pack in two maps. More than differ where content lies
 * in two places; reads nothing but the maps.
 */
export async function* diffPlaces(left: DiskMap, right: DiskMap): AsyncGenerator<ClusterRun, void> {
  yield* joined(differingPlaces(left, right));
}

async function* differingPlaces(left: DiskMap, right: DiskMap): AsyncGenerator<ClusterRun, void> {
  for await (const { left: a, right: b, ...run } of segments(left, right)) {
    const samePack = a && b && left.packs[a.pack]?.digest === right.packs[b.pack]?.digest;
    if (!samePack || a.frame !== b.frame) yield run;
  }
}

/** Joins runs that follow one another. */
async function* joined(runs: AsyncIterable<ClusterRun>): AsyncGenerator<ClusterRun, void> {
  let pending: ClusterRun | undefined;
  for await (const run of runs) {
    if (pending && pending.firstCluster + pending.count === run.firstCluster) {
      pending.count += run.count;
      continue;
    }
    if (pending) yield pending;
    pending = { ...run };
  }
  if (pending) yield pending;
}

async function* differingRuns(left: DiskReader, right: DiskReader): AsyncGenerator<ClusterRun, void> {
  for await (const segment of segments(left.map, right.map)) {
    const { firstCluster, count } = segment;
    if (segment.left === undefined || segment.right === undefined) yield { firstCluster, count };
    else yield* compare(left, right, segment, segment.left, segment.right);
  }
}

async function* compare(
  left: DiskReader,
  right: DiskReader,
  { firstCluster, count }: ClusterRun,
  a: Place,
  b: Place,
): AsyncGenerator<ClusterRun, void> {
  const samePack = left.map.packs[a.pack]?.digest === right.map.packs[b.pack]?.digest;
  if (samePack && a.frame === b.frame) return;
  const { index: leftIndex } = await left.pack(a.pack);
  const { index: rightIndex } = await right.pack(b.pack);
  for (let i = 0; i < count; i++)
    if (!leftIndex.hashOf(a.frame + i).equals(rightIndex.hashOf(b.frame + i)))
      yield { firstCluster: firstCluster + i, count: 1 };
}

/** Both maps' extents side by side, cut wherever either of them begins or ends. */
async function* segments(left: DiskMap, right: DiskMap): AsyncGenerator<Segment, void> {
  await using a = new Cursor(left);
  await using b = new Cursor(right);
  await a.next();
  await b.next();
  for (let at = 0; a.extent || b.extent; ) {
    at = Math.max(at, Math.min(a.startFrom(at), b.startFrom(at)));
    const end = Math.min(a.boundaryAfter(at), b.boundaryAfter(at));
    yield { firstCluster: at, count: end - at, left: a.placeOf(at), right: b.placeOf(at) };
    at = end;
    if (a.endsBy(at)) await a.next();
    if (b.endsBy(at)) await b.next();
  }
}

/** Goes through the extents of one map. */
class Cursor implements AsyncDisposable {
  extent: Extent | undefined;
  readonly #batches: AsyncGenerator<readonly Extent[], void>;
  #batch: readonly Extent[] = [];
  #index = 0;

  constructor(map: DiskMap) {
    this.#batches = map.extents() as AsyncGenerator<readonly Extent[], void>;
  }

  async next(): Promise<void> {
    while (this.#index >= this.#batch.length) {
      const { done, value } = await this.#batches.next();
      if (done) {
        this.extent = undefined;
        return;
      }
      this.#batch = value;
      this.#index = 0;
    }
    this.extent = this.#batch[this.#index++];
  }

  /** The first cluster from `at` on that the current extent covers; infinity behind the last one. */
  startFrom(at: number): number {
    return this.extent ? Math.max(at, this.extent.firstCluster) : Number.POSITIVE_INFINITY;
  }

  /** Where, behind `at`, the current extent begins or ends next. */
  boundaryAfter(at: number): number {
    if (!this.extent) return Number.POSITIVE_INFINITY;
    const { firstCluster, count } = this.extent;
    return at < firstCluster ? firstCluster : firstCluster + count;
  }

  placeOf(at: number): Place | undefined {
    if (!this.extent || at < this.extent.firstCluster) return undefined;
    return { pack: this.extent.pack, frame: this.extent.firstFrame + at - this.extent.firstCluster };
  }

  endsBy(at: number): boolean {
    return this.extent !== undefined && this.extent.firstCluster + this.extent.count <= at;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#batches.return();
  }
}
