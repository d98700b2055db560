import { DoppelError } from "../errors.ts";
import type { DiskMap, MapPack } from "../image/disk-map.ts";
import { ExtentStream } from "../image/extent-stream.ts";
import type { MapWriter, Run } from "./map-writer.ts";
import type { PackNumbers } from "./pack-numbers.ts";
import type { Placement } from "./pack-writer.ts";

/**
 * Writes the map of one disk while its clusters come in, ascending: new ones as frames that were placed in packs, those that
 * did not change as extents of the disk's base, an earlier map of it.
 */
export class DiskWriter {
  readonly #map: MapWriter;
  readonly #base: { map: DiskMap; extents: ExtentStream } | undefined;
  readonly #numbers: PackNumbers;
  /** Runs that are taken from the base once the clusters before them are known. */
  #same: Run[] = [];
  #nextCluster = 0;

  constructor(map: MapWriter, base: DiskMap | undefined, numbers: PackNumbers) {
    this.#map = map;
    this.#base = base && { map: base, extents: new ExtentStream(base) };
    this.#numbers = numbers;
  }

  get coveredClusters(): number {
    return this.#map.coveredClusters;
  }

  get usedPacks(): number[] {
    return this.#map.usedPacks;
  }

  /** Takes runs that are as in the base. They lie behind everything before them; new clusters may still come among them. */
  async addSame(runs: readonly Run[]): Promise<void> {
    await this.#copySame(Infinity);
    this.#same = runs.map((run) => ({ ...run }));
  }

  /** Records that the clusters of `runs`, in order, are the frames from `placement` on. */
  async add(runs: readonly Run[], { pack, firstFrame }: Placement): Promise<void> {
    let frame = firstFrame;
    for (const run of runs) {
      await this.#copySame(run.firstCluster);
      await this.#map.add([run], { pack, firstFrame: frame });
      frame += run.count;
      this.#nextCluster = run.firstCluster + run.count;
    }
  }

  /** Takes over what the base has behind the last cluster that came: the disk was not copied to its end. */
  async addRestOfBase(): Promise<void> {
    await this.#copySame(Infinity);
    await this.#base?.extents.skip(this.#nextCluster);
    await this.#copyBase(Infinity);
  }

  async finish(
    packOf: (number: number) => MapPack | undefined,
  ): Promise<{ digest: string; sizeBytes: number }> {
    await this.#copySame(Infinity);
    return await this.#map.finish(packOf);
  }

  async abort(): Promise<void> {
    await this.#map.abort();
  }

  async #copySame(beforeCluster: number): Promise<void> {
    for (let run = this.#same[0]; run && run.firstCluster < beforeCluster; run = this.#same[0]) {
      const { firstCluster, count } = run;
      await this.#base?.extents.skip(firstCluster);
      const copied = await this.#copyBase(firstCluster + count);
      if (copied !== count) throw unknown(firstCluster, count);
      this.#nextCluster = firstCluster + count;
      this.#same.shift();
    }
  }

  /** Copies the base's extents up to a cluster; returns how many clusters they cover. */
  async #copyBase(endCluster: number): Promise<number> {
    if (!this.#base) return 0;
    const { map, extents } = this.#base;
    let copied = 0;
    for (let part = await extents.take(endCluster); part; part = await extents.take(endCluster)) {
      const pack = map.packs[part.pack];
      if (!pack) throw new Error("an extent's pack was checked when it was read");
      const { firstCluster, count, firstFrame } = part;
      await this.#map.add([{ firstCluster, count }], { pack: this.#numbers.numberOf(pack), firstFrame });
      copied += count;
    }
    return copied;
  }
}

function unknown(firstCluster: number, count: number): DoppelError {
  return new DoppelError(
    "agent-protocol",
    `the agent broke its protocol: ${count} clusters from ${firstCluster} on are the same, but nobody has them`,
  );
}
