import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { probeKvm } from "../../hypervisor/capabilities.ts";
import { ImageExports } from "../../nbd/image-exports.ts";
import { NbdServer } from "../../nbd/server.ts";
import type { ImageStore, StoredImage } from "../../store/image-store.ts";
import { temporaryFolder } from "../../temporary-folder.ts";
import { findSystems, type GuestSystem } from "../guest-system.ts";
import { type GuestDisk, Guestfish } from "../guestfish.ts";
import { compareListings, type Difference } from "./compare.ts";
import {
  checksums,
  diskNumber,
  listFiles,
  mountSide,
  readEntries,
  SCRATCH_BYTES,
  type Side,
} from "./side.ts";

export interface FileDiffOptions {
  signal?: AbortSignal | undefined;
  /** Hears what goes on, and which file systems could not be looked at. */
  onStage?: ((what: string) => void) | undefined;
}

/** What of two images cannot be in one appliance: names and UUIDs that would be there twice. */
const SHARED_BY_NAME = new Set(["lvm2", "md", "btrfs", "luks", "lvm"]);

/**
 * The files that differ between two images, ascending by path: which came, which went, and what changed of the others. Both
 * are read-only. Contents are compared only where sizes are the same and times are not. Throws `guestfs-failed`.
 */
export async function* diffFiles(
  store: ImageStore,
  images: readonly [StoredImage, StoredImage],
  { signal, onStage }: FileDiffOptions = {},
): AsyncGenerator<Difference, void> {
  await using work = await temporaryFolder("diff");
  await using left = await serveImage(store, images[0], join(work.path, "left"));
  await using right = await serveImage(store, images[1], join(work.path, "right"));
  onStage?.("starting the appliance");
  await using sides = await openSides([left.disks, right.disks], images.every(canShare), work.path, signal);
  const systems = new Map<Guestfish, GuestSystem[]>();
  for (const { guestfish } of sides.all)
    if (!systems.has(guestfish)) systems.set(guestfish, await findSystems(guestfish));
  for (const side of sides.all) {
    const skipped = await mountSide(side, systems.get(side.guestfish) ?? []);
    for (const path of skipped)
      onStage?.(`${path} of ${side.folder.slice(1)} cannot be mounted and is left out`);
  }
  onStage?.("listing files");
  const [before, after] = [await listFiles(sides.left), await listFiles(sides.right)];
  const differences = () => compareListings(readEntries(before), readEntries(after));
  const undecided = async function* () {
    for await (const { after: entry, undecided } of differences()) if (entry && undecided) yield entry.path;
  };
  onStage?.("reading files whose times differ");
  const [leftSums, rightSums] = [checksums(sides.left, undecided), checksums(sides.right, undecided)];
  for await (const difference of differences()) {
    signal?.throwIfAborted();
    if (difference.undecided) {
      const [a, b] = [(await leftSums.next()).value, (await rightSums.next()).value];
      if (a === undefined || a !== b) difference.aspects.push("content");
      if (difference.aspects.length === 0) continue;
    }
    yield difference;
  }
}

interface ServedImage extends AsyncDisposable {
  disks: GuestDisk[];
}

async function serveImage(store: ImageStore, image: StoredImage, socketPath: string): Promise<ServedImage> {
  const opened = await ImageExports.open(store, image, { writable: false });
  const server = await NbdServer.start({ socketPath, exports: opened.exports });
  return {
    disks: opened.exports.map(({ name }) => ({ socketPath, exportName: name, writable: false })),
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
    },
  };
}

function canShare(image: StoredImage): boolean {
  return image.config.doppel.disks.every(({ regions }) =>
    regions.every(({ kind }) => !SHARED_BY_NAME.has(kind)),
  );
}

interface Sides extends AsyncDisposable {
  left: Side;
  right: Side;
  all: Side[];
}

/** One appliance for both where that can be told apart, else one for each. */
async function openSides(
  disks: readonly [GuestDisk[], GuestDisk[]],
  shared: boolean,
  workFolder: string,
  signal: AbortSignal | undefined,
): Promise<Sides> {
  const useTcg = !(await probeKvm()).works;
  const appliances: Guestfish[] = [];
  const close = async () => {
    for (const guestfish of appliances) await guestfish[Symbol.asyncDispose]();
  };
  const start = async (of: readonly GuestDisk[], index: number): Promise<Side> => {
    const scratch = join(workFolder, `scratch${index}`);
    await writeFile(scratch, "", { mode: 0o600 });
    await truncate(scratch, SCRATCH_BYTES);
    const guestfish = await Guestfish.start(of, { useTcg, scratch, ...(signal ? { signal } : {}) });
    appliances.push(guestfish);
    const folder = index === 0 ? "/left" : "/right";
    return { guestfish, folder, index, firstDisk: 0, isMine: () => true, scratch, workFolder };
  };
  const sharedBy = (side: Side, index: number): Side => {
    const firstDisk = index === 0 ? 0 : disks[0].length;
    const end = firstDisk + disks[index === 0 ? 0 : 1].length;
    const isMine = (device: string) => diskNumber(device) >= firstDisk && diskNumber(device) < end;
    return { ...side, folder: index === 0 ? "/left" : "/right", index, firstDisk, isMine };
  };
  try {
    const first = await start(shared ? disks.flat() : disks[0], 0);
    const left = shared ? sharedBy(first, 0) : first;
    const right = shared ? sharedBy(first, 1) : await start(disks[1], 1);
    return { left, right, all: [left, right], [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
