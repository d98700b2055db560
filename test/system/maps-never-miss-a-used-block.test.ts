import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { DiskImage, fillAndFragment } from "../../fixtures/disks.ts";
import { must, packageRoot } from "./doppel.ts";

const MIB = 1024 * 1024;
const agent = join(packageRoot, "native/build/x86_64/doppel-agent");
const possible = process.getuid?.() === 0 || process.env.CI !== undefined;

interface MapRegion {
  kind: string;
  method: string;
  reason: string;
  offsetBytes: number;
  lengthBytes: number;
  extents: [number, number][];
}

async function mapOf(path: string, ...options: string[]): Promise<{ table: string; regions: MapRegion[] }> {
  return JSON.parse(await must(agent, "map", "--json", "--extents", ...options, path));
}

/** A bit for each block that the extents touch. */
function usedBlocks(regions: readonly MapRegion[], blockBytes: number, blocks: number): Uint8Array {
  const used = new Uint8Array(blocks);
  for (const { extents } of regions) {
    for (const [offset, length] of extents) {
      used.fill(1, Math.floor(offset / blockBytes), Math.ceil((offset + length) / blockBytes));
    }
  }
  return used;
}

/** dumpe2fs: every block that no group lists as free. */
async function ext(path: string): Promise<{ blockBytes: number; used: Uint8Array }> {
  const text = await must("dumpe2fs", path);
  const number = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1]);
  const blockBytes = number("Block size");
  const ratio = (number("Cluster size") || blockBytes) / blockBytes;
  const used = new Uint8Array(number("Block count")).fill(1);
  for (const [, list = ""] of text.matchAll(/^ {2}Free blocks: (.*)$/gm)) {
    for (const range of list.split(",").filter((part) => part.trim())) {
      const [first = 0, last = first] = range.trim().split("-").map(Number);
      used.fill(0, first, last + ratio);
    }
  }
  return { blockBytes, used };
}

/** xfs_db: every block that is not in a free extent. */
async function xfs(path: string): Promise<{ blockBytes: number; used: Uint8Array }> {
  const fields = await must("xfs_db", "-r", "-c", "sb 0", "-c", "p blocksize agblocks dblocks", path);
  const field = (name: string) => Number(new RegExp(`^${name} = (\\d+)`, "m").exec(fields)?.[1]);
  const used = new Uint8Array(field("dblocks")).fill(1);
  for (const line of (await must("xfs_db", "-r", "-c", "freesp -d", path)).split("\n")) {
    const [, ag, start, count] = /^\s*(\d+)\s+(\d+)\s+(\d+)\s*$/.exec(line) ?? [];
    if (ag === undefined) continue;
    const first = Number(ag) * field("agblocks") + Number(start);
    used.fill(0, first, first + Number(count));
  }
  return { blockBytes: field("blocksize"), used };
}

/** partclone's domain log: ranges of bytes in use are marked with a plus. */
async function partclone(type: string, path: string): Promise<[number, number][]> {
  const log = `${path}.domain`;
  await must(
    `partclone.${type}`,
    "--domain",
    "--source",
    path,
    "--output",
    log,
    "--logfile",
    `${path}.log`,
    "--overwrite",
    log,
  );
  const lines = readFileSync(log, "utf8").matchAll(/^(0x[0-9A-F]+) {2}(0x[0-9A-F]+) {2}\+$/gm);
  return [...lines].map(([, offset, length]) => [Number(offset), Number(length)]);
}

/** The ranges that no extent covers. */
function uncovered(ranges: [number, number][], extents: [number, number][]): [number, number][] {
  const sorted = [...extents].sort(([a], [b]) => a - b);
  return ranges.filter(([offset, length]) => {
    let at = offset;
    for (const [start, size] of sorted) if (start <= at && start + size > at) at = start + size;
    return at < offset + length;
  });
}

const EXT: [string, string[]][] = [
  ["ext2", []],
  ["ext3", []],
  ["ext4", []],
  ["ext4", ["-b", "1024"]],
  ["ext4", ["-O", "bigalloc", "-C", "65536"]],
  ["ext4", ["-O", "^flex_bg"]],
  ["ext4", ["-O", "meta_bg,^resize_inode"]],
  ["ext4", ["-O", "meta_bg,^resize_inode,^flex_bg", "-b", "1024"]],
  ["ext4", ["-O", "^64bit"]],
  ["ext4", ["-O", "^metadata_csum,uninit_bg"]],
  ["ext4", ["-O", "^metadata_csum,uninit_bg,^flex_bg", "-b", "1024"]],
  ["ext4", ["-O", "sparse_super2"]],
  ["ext4", ["-O", "^resize_inode,^has_journal"]],
  ["ext4", ["-g", "8192"]],
  ["ext4", ["-O", "metadata_csum_seed"]],
];

const XFS: string[][] = [
  [],
  ["-m", "reflink=0"],
  ["-m", "rmapbt=1"],
  ["-m", "bigtime=0"],
  ["-i", "sparse=0"],
  ["-b", "size=1024"],
  ["-s", "size=4096"],
  ["-d", "su=64k,sw=2", "-l", "su=256k"],
];

async function checkAgainst(
  peer: (path: string) => Promise<{ blockBytes: number; used: Uint8Array }>,
  path: string,
  mostExtra: number,
): Promise<void> {
  const { blockBytes, used } = await peer(path);
  const { regions } = await mapOf(path);
  expect(regions[0]).toMatchObject({ method: "allocation-map", reason: "" });
  const ours = usedBlocks(regions, blockBytes, used.length);
  const missed: number[] = [];
  let extra = 0;
  for (let block = 0; block < used.length; block++) {
    if (used[block] && !ours[block]) missed.push(block);
    if (!used[block] && ours[block]) extra++;
  }
  expect(missed).toEqual([]);
  expect(extra).toBeLessThanOrEqual(mostExtra);
}

/** Every range that partclone would save is in our map. */
async function checkAgainstPartclone(type: "extfs" | "xfs", path: string): Promise<void> {
  const theirs = await partclone(type, path);
  expect(theirs.length).toBeGreaterThan(0);
  const { regions } = await mapOf(path);
  expect(
    uncovered(
      theirs,
      regions.flatMap((region) => region.extents),
    ),
  ).toEqual([]);
}

describe.skipIf(!possible)("used-block maps", () => {
  it.each(EXT)("of %s %j are exactly dumpe2fs's, fresh and after use", async (type, options) => {
    using image = new DiskImage(520 * MIB);
    await must(`mkfs.${type}`, "-q", "-F", ...options, image.path);
    await checkAgainst(ext, image.path, 0);
    const loop = image.attach();
    const folder = image.mount(loop);
    fillAndFragment(folder, options.length + type.length);
    image.unmount(folder);
    image.detach(loop);
    await checkAgainst(ext, image.path, 0);
    // partclone cannot read bigalloc.
    if (!options.includes("bigalloc")) await checkAgainstPartclone("extfs", image.path);
  });

  it.each(XFS.map((options) => [options]))(
    "of xfs %j are xfs_db's, but for the reserve that is kept",
    async (options) => {
      using image = new DiskImage(520 * MIB);
      await must("mkfs.xfs", "-q", "-f", ...options, image.path);
      // Each allocation group keeps a few blocks in reserve (AGFL): no file has them, they are taken all the same.
      await checkAgainst(xfs, image.path, 128);
      const loop = image.attach();
      const folder = image.mount(loop);
      fillAndFragment(folder, options.length + 7);
      image.unmount(folder);
      image.detach(loop);
      await checkAgainst(xfs, image.path, 128);
      await checkAgainstPartclone("xfs", image.path);
    },
  );

  it("of XFS version 4 are xfs_db's", async () => {
    using image = new DiskImage(520 * MIB);
    await must("mkfs.xfs", "-q", "-f", "-m", "crc=0", image.path);
    await checkAgainst(xfs, image.path, 128);
  });

  it("take a file system whole whose journal was not replayed, and trust it when it was just frozen", async () => {
    using image = new DiskImage(256 * MIB);
    await must("mkfs.ext4", "-q", "-F", image.path);
    const loop = image.attach();
    const folder = image.mount(loop);
    fillAndFragment(folder, 1, 40);
    await must("sync", "-f", folder);
    const mounted = await mapOf(loop);
    expect(mounted.regions[0]).toMatchObject({ kind: "ext4", method: "whole" });
    expect(mounted.regions[0]?.reason).toMatch(/journal/);
    await must("fsfreeze", "--freeze", folder);
    const frozen = await mapOf(loop, "--refreshed", "0");
    await must("fsfreeze", "--unfreeze", folder);
    expect(frozen.regions[0]).toMatchObject({ method: "allocation-map" });
  });

  it("take a file system whole whose bitmap does not match its checksum, and say so", async () => {
    using image = new DiskImage(256 * MIB);
    await must("mkfs.ext4", "-q", "-F", "-b", "4096", image.path);
    const bitmap = /Block bitmap at (\d+)/.exec(await must("dumpe2fs", image.path))?.[1];
    await must(
      "dd",
      "if=/dev/urandom",
      `of=${image.path}`,
      "bs=4096",
      "count=1",
      `seek=${bitmap}`,
      "conv=notrunc",
    );
    const { regions } = await mapOf(image.path);
    expect(regions[0]).toMatchObject({ kind: "ext4", method: "whole" });
    expect(regions[0]?.extents).toContainEqual([0, 256 * MIB]);
    expect(regions[0]?.reason).toMatch(/bitmap of group 0 does not match its checksum/);
  });
});

describe("partition tables", () => {
  it("of GPT are followed from the backup when the primary is damaged; both are kept", async () => {
    using image = new DiskImage(64 * MIB);
    await must("sgdisk", "--new=1:2048:+20M", "--new=2:0:0", image.path);
    const sound = await mapOf(image.path);
    await must("dd", "if=/dev/zero", `of=${image.path}`, "bs=512", "seek=1", "count=1", "conv=notrunc");
    const damaged = await mapOf(image.path);
    expect(sound.table).toBe("gpt");
    expect(damaged.table).toBe("gpt");
    const partitions = (map: typeof sound) => map.regions.filter((region) => region.kind === "unknown");
    expect(partitions(damaged)).toEqual(partitions(sound));
    expect(partitions(sound)).toHaveLength(2);
    const last = sound.regions.at(-1);
    expect((last?.offsetBytes ?? 0) + (last?.lengthBytes ?? 0)).toBe(64 * MIB);
  });

  it("of MBR are followed into extended partitions", async () => {
    using image = new DiskImage(128 * MIB);
    const layout = "label: dos\n,20M\n,60M,E\n,10M\n,10M\n,10M\n";
    await must("bash", "-c", `printf '${layout}' | sfdisk -q '${image.path}'`);
    const { table, regions } = await mapOf(image.path);
    const sizes = regions
      .filter((region) => region.kind === "unknown")
      .map((region) => region.lengthBytes / MIB);
    expect(table).toBe("mbr");
    expect(sizes).toHaveLength(4);
    expect(sizes[0]).toBe(20);
  });

  it("of a chain of boot records that loops take the disk whole, with the reason", async () => {
    using image = new DiskImage(128 * MIB);
    await must("bash", "-c", `printf 'label: dos\\n,20M\\n,60M,E\\n,10M\\n' | sfdisk -q '${image.path}'`);
    const start = JSON.parse(await must("sfdisk", "--json", image.path)).partitiontable.partitions[1].start;
    // The second entry of the first extended record points to itself: type 5, start 0, one sector.
    const entry = "\\x00\\x00\\x00\\x00\\x05\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x00\\x00\\x00";
    const seek = start * 512 + 446 + 16;
    await must(
      "bash",
      "-c",
      `printf '${entry}' | dd of='${image.path}' bs=1 seek=${seek} conv=notrunc status=none`,
    );
    const { regions } = await mapOf(image.path);
    expect(regions).toMatchObject([{ method: "whole", offsetBytes: 0, lengthBytes: 128 * MIB }]);
    expect(regions[0]?.reason).toMatch(/does not end/);
  });
});
