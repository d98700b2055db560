import { parseArgs } from "node:util";
import { CLUSTER_BYTES, HASH_BYTES } from "../../src/image/cluster.ts";
import { parseReference } from "../../src/image/reference.ts";
import { ImageStore, type StoredImage } from "../../src/store/image-store.ts";
import { knownClusters } from "../../src/store/known-clusters.ts";
import { formatBytes } from "../../src/units.ts";

// What the second of two images in the store would share with the first by content, wherever it lies: by the hashes in the packs.
//   npm run bench:sharing -- REF REF
const { positionals } = parseArgs({ allowPositionals: true });
const [first = "", second = ""] = positionals;

/** Disk and cluster as one number, by hash: the first place of each content. */
type Places = Map<string, number>;

/** A disk's clusters with their hashes, ascending; a place of a later disk lies behind all of an earlier one. */
async function* clustersOf(
  store: ImageStore,
  image: StoredImage,
): AsyncGenerator<{ place: number; hash: string }> {
  for (const [index, { sizeBytes }] of image.config.doppel.disks.entries()) {
    await using disk = await store.openDisk(image, index);
    for await (const { firstCluster, hashes } of knownClusters(
      store.blobs,
      disk.map,
      sizeBytes,
      console.error,
    ))
      for (let i = 0; i * HASH_BYTES < hashes.length; i++)
        yield {
          place: index * 2 ** 40 + firstCluster + i,
          hash: hashes.toString("latin1", i * HASH_BYTES, (i + 1) * HASH_BYTES),
        };
  }
}

/** Lengths of the runs of clusters that follow one another in both images. */
async function sharedRuns(store: ImageStore, image: StoredImage, places: Places): Promise<number[]> {
  const runs: number[] = [];
  let before: { here: number; there: number } | undefined;
  for await (const { place, hash } of clustersOf(store, image)) {
    const there = places.get(hash);
    if (there === undefined) before = undefined;
    else {
      const continues = before?.here === place - 1 && before.there === there - 1;
      if (continues) runs[runs.length - 1] = (runs.at(-1) ?? 0) + 1;
      else runs.push(1);
      before = { here: place, there };
    }
  }
  return runs;
}

await using store = await ImageStore.open();
const known = await store.resolve(parseReference(first));
const image = await store.resolve(parseReference(second));
const places: Places = new Map();
for await (const { place, hash } of clustersOf(store, known)) if (!places.has(hash)) places.set(hash, place);
let clusters = 0;
let samePlace = 0;
for await (const { place, hash } of clustersOf(store, image)) {
  clusters++;
  if (places.get(hash) === place) samePlace++;
}
const runs = await sharedRuns(store, image, places);
const share = (count: number) =>
  `${formatBytes(count * CLUSTER_BYTES)} (${((100 * count) / clusters).toFixed(1)} %)`;
process.stdout.write(
  `${second} holds ${formatBytes(clusters * CLUSTER_BYTES)}\nthe same at the same place: ${share(samePlace)}\n`,
);
for (const shortest of [1, 4, 8, 16]) {
  const long = runs.filter((run) => run >= shortest);
  const sum = long.reduce((total, run) => total + run, 0);
  process.stdout.write(
    `the same anywhere, in runs of at least ${shortest}: ${share(sum)}, ${long.length} runs\n`,
  );
}
