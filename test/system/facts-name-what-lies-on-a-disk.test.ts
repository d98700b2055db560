import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { DiskImage } from "../../fixtures/disks.ts";
import { must, packageRoot, possible } from "./doppel.ts";

const AGENT = join(
  packageRoot,
  "native/build",
  process.arch === "arm64" ? "aarch64" : "x86_64",
  "doppel-agent",
);
const QUICK_LUKS = ["luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

/** The agent's facts beside blkid's: a conversion names devices by these UUIDs. */
describe.skipIf(!possible)("a file system's kind and UUID in the facts", () => {
  it.each([
    ["ext4", "mkfs.ext4", ["-q"]],
    ["xfs", "mkfs.xfs", ["-q"]],
    ["btrfs", "mkfs.btrfs", ["-q"]],
    ["swap", "mkswap", ["-q"]],
    ["vfat", "mkfs.vfat", ["-F", "32"]],
    ["vfat", "mkfs.vfat", ["-F", "16"]],
    ["vfat", "mkfs.vfat", ["-F", "12"]],
    ["luks", "cryptsetup", [...QUICK_LUKS, "--type", "luks1"]],
    ["luks", "cryptsetup", [...QUICK_LUKS, "--type", "luks2"]],
  ])("are those of blkid: %s by %s %j", async (kind, program, options) => {
    using disk = new DiskImage((kind === "xfs" || kind === "btrfs" ? 320 : 40) * 1024 * 1024);
    // Any file with something in it is a key.
    const key = kind === "luks" ? [AGENT, "--keyfile-size", "64"] : [];
    await must(program, ...options, disk.path, ...key);
    const expected = (await must("blkid", "-p", "-s", "UUID", "-o", "value", disk.path)).trim();
    const loop = disk.attach({ readOnly: true });
    expect(expected).not.toBe("");
    expect(await factsOf(loop)).toMatchObject({ fsType: kind, fsUuid: expected });
  });
});

/** A configuration may use them, and other hardware has others. */
describe.skipIf(!possible)("the names that udev makes of a disk's maker and place", () => {
  it("are in the facts of the disk", async () => {
    using disk = new DiskImage(1024 * 1024);
    const loop = disk.attach({ readOnly: true });
    const links = ["/dev/disk/by-id/ata-TESTS_0001", "/dev/disk/by-path/pci-0000:00:1f.2-tests-1"];
    try {
      for (const link of links) {
        mkdirSync(dirname(link), { recursive: true });
        symlinkSync(relative(dirname(link), loop), link);
      }
      expect((await factsOf(loop)).links).toEqual(links);
    } finally {
      for (const link of links) rmSync(link, { force: true });
    }
  });
});

interface BlockFacts {
  path: string;
  fsType?: string;
  fsUuid?: string;
  links?: string[];
}

async function factsOf(device: string): Promise<BlockFacts> {
  const { block } = JSON.parse(await must(AGENT, "facts")) as { block: BlockFacts[] };
  const found = block.find(({ path }) => path === device);
  if (!found) throw new Error(`the facts do not know ${device}`);
  return found;
}
