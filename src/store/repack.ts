import { DoppelError } from "../errors.ts";
import { readRange } from "../image/byte-source.ts";
import { CLUSTER_BYTES } from "../image/cluster.ts";
import { DiskMap, type Extent, type MapPack } from "../image/disk-map.ts";
import { decodeFrame } from "../image/frame.ts";
import { FRAME_ENTRY_BYTES, type PackIndex, readPackIndex } from "../image/pack.ts";
import type { ImageStore } from "./image-store.ts";
import { MapWriter } from "./map-writer.ts";
import type { UsedFrames } from "./pack-usage.ts";
import { PackWriter, type Placement, packSizeFor } from "./pack-writer.ts";

interface Move extends Placement {
  from: number;
  count: number;
}

/** Where the frames of packs that were repacked have gone. */
export interface Repacked {
  packs: readonly MapPack[];
  /** By the digest of the pack that they were in; ascending. */
  moves: ReadonlyMap<string, readonly Move[]>;
}

const FRAMES_A_READ = 64;

/**
 * Copies the used frames of packs into new ones. Nothing is compressed again, but each frame is decoded once: damage must not
 * get a new digest. Throws `frame-corrupt`.
 */
export async function repack(
  store: ImageStore,
  packs: ReadonlyMap<string, UsedFrames>,
  signal?: AbortSignal,
): Promise<Repacked> {
  const live = [...packs.values()].reduce((sum, used) => sum + used.liveFrames, 0);
  const writer = new PackWriter(() => store.createBlob(), packSizeFor(live * CLUSTER_BYTES));
  const moves = new Map<string, Move[]>();
  try {
    for (const [digest, used] of packs) {
      await using blob = await store.blobs.openBlob(digest);
      const index = await readPackIndex(blob, digest);
      const moved: Move[] = [];
      for (const { firstFrame, count } of used.runs(FRAMES_A_READ)) {
        signal?.throwIfAborted();
        const start = index.offsetOf(firstFrame);
        const frames = await readRange(blob, start, index.offsetOf(firstFrame + count) - start);
        const table = checkFrames(digest, index, firstFrame, count, frames);
        moved.push({ from: firstFrame, count, ...(await writer.append(table, frames)) });
      }
      moves.set(digest, moved);
    }
    return { packs: await writer.finish(), moves };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** The table of frames that follow one another, each of which was decoded. */
function checkFrames(
  pack: string,
  index: PackIndex,
  firstFrame: number,
  count: number,
  frames: Buffer,
): Buffer {
  const table = Buffer.alloc(count * FRAME_ENTRY_BYTES);
  const base = index.offsetOf(firstFrame);
  for (let i = 0; i < count; i++) {
    const start = index.offsetOf(firstFrame + i) - base;
    const length = index.lengthOf(firstFrame + i);
    const decoded = decodeFrame(frames.subarray(start, start + length), index.hashOf(firstFrame + i));
    if (typeof decoded === "string")
      throw new DoppelError(
        "frame-corrupt",
        `frame ${firstFrame + i} of pack ${pack} is corrupt: ${decoded}`,
        {
          hint: "run 'doppel images verify' on its images; nothing was changed",
        },
      );
    table.writeUInt32LE(length, i * FRAME_ENTRY_BYTES);
    index.hashOf(firstFrame + i).copy(table, i * FRAME_ENTRY_BYTES + 4);
  }
  return table;
}

/** Writes the map of a disk anew, with the frames where they are now. `packs`: those that it uses. */
export async function rewriteMap(
  store: ImageStore,
  digest: string,
  { packs, moves }: Repacked,
): Promise<{ digest: string; sizeBytes: number; packs: MapPack[] }> {
  await using blob = await store.blobs.openBlob(digest);
  const map = await DiskMap.open(blob, digest);
  const writer = new MapWriter(await store.createBlob(), map.diskBytes);
  try {
    // New packs are numbered first, the map's old ones after them.
    const numbered = [...packs, ...map.packs];
    for await (const batch of map.extents())
      for (const extent of batch) {
        const moved = moves.get(map.packs[extent.pack]?.digest ?? "");
        const { firstCluster, count, firstFrame } = extent;
        const kept = { pack: packs.length + extent.pack, firstFrame };
        if (moved === undefined) await writer.add([{ firstCluster, count }], kept);
        else for (const part of movedParts(extent, moved)) await writer.add([part], part.placement);
      }
    const used = writer.usedPacks.flatMap((number) => numbered[number] ?? []);
    return { ...(await writer.finish((number) => numbered[number])), packs: used };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** An extent in pieces, each of which lies in one piece where its frames are now. */
function* movedParts(extent: Extent, moves: readonly Move[]) {
  let at = firstMoveOf(moves, extent.firstFrame);
  for (let done = 0; done < extent.count; at++) {
    const move = moves[at];
    const frame = extent.firstFrame + done;
    const skipped = frame - (move?.from ?? Infinity);
    if (!move || skipped < 0) throw new Error(`frame ${frame}, which is used, was not copied`);
    const count = Math.min(extent.count - done, move.count - skipped);
    const placement = { pack: move.pack, firstFrame: move.firstFrame + skipped };
    yield { firstCluster: extent.firstCluster + done, count, placement };
    done += count;
  }
}

/** The number of the move that frame `frame` is in, found by halving. */
function firstMoveOf(moves: readonly Move[], frame: number): number {
  let low = 0;
  let high = moves.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((moves[middle]?.from ?? Infinity) <= frame) low = middle;
    else high = middle - 1;
  }
  return low;
}
