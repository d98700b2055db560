import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage, fillAndFragment } from "../../fixtures/disks.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { Doppel, loginTo, must, possible } from "./doppel.ts";

const MIB = 1024 * 1024;
const CLUSTER = 65_536;
const LAYOUT = "label: gpt\nsize=60M\nsize=60M\n";

describe.skipIf(!possible)("two images of one machine", () => {
  const doppel = new Doppel();
  let sshd: Sshd;
  let image: DiskImage;

  beforeAll(async () => {
    sshd = await Sshd.start();
    image = new DiskImage(128 * MIB);
    await must("bash", "-c", `sfdisk -q ${image.path} <<< "$0"`, LAYOUT);
    await onPartition(1, async (folder) => fillAndFragment(folder, 5, 60));
    await onPartition(2, async (folder) => fillAndFragment(folder, 6, 60));
    await capture("before");
    await onPartition(
      2,
      async (folder) => writeFileSync(join(folder, "new"), Buffer.alloc(3 * MIB, 7)),
      false,
    );
    // The lowest number is taken: the disk has another name this time, as disks may have at each start of a machine.
    const taken = image.attach({ readOnly: true });
    await capture("after");
    image.detach(taken);
  });

  afterAll(async () => {
    await sshd?.[Symbol.asyncDispose]();
    image?.[Symbol.dispose]();
    doppel[Symbol.dispose]();
  });

  async function onPartition(
    number: number,
    work: (folder: string) => Promise<void>,
    make = true,
  ): Promise<void> {
    const loop = image.attach({ offsetBytes: (1 + (number - 1) * 60) * MIB, lengthBytes: 60 * MIB });
    if (make) await must("mkfs.ext4", "-q", "-F", loop);
    const folder = image.mount(loop);
    await work(folder);
    image.unmount(folder);
    image.detach(loop);
  }

  async function capture(name: string): Promise<void> {
    const disk = image.attach({ readOnly: true });
    await doppel.json("capture", ...loginTo(sshd), "--disk", disk, "--name", name);
    await doppel.json("export", name, "--format", "raw", "-o", join(image.folder, `${name}.raw`));
    image.detach(disk);
  }

  /** Bytes of the clusters that differ, by comparing the exported disks. */
  function comparedBytes(): number {
    const [before, after] = ["before", "after"].map((name) =>
      readFileSync(join(image.folder, `${name}.raw`)),
    );
    let changed = 0;
    for (let at = 0; at < 128 * MIB; at += CLUSTER)
      if (!before?.subarray(at, at + CLUSTER).equals(after?.subarray(at, at + CLUSTER) ?? Buffer.alloc(0)))
        changed += CLUSTER;
    return changed;
  }

  it("differ where the disks differ, whatever the machine calls them, and the file system that holds it is named", async () => {
    const diff = await doppel.json("images", "diff", "before", "after");
    expect(diff.changedBytes).toBe(comparedBytes());
    expect(diff.changedBytes).toBeGreaterThan(3 * MIB);
    const [disk] = diff.disks as { regions: { kind: string; offsetBytes: number }[] }[];
    expect(disk?.regions).toMatchObject([
      { kind: "ext4", offsetBytes: 61 * MIB, changedBytes: diff.changedBytes },
    ]);
    expect((await doppel.run("images", "diff", "before", "after")).stdout).toMatch(
      /disk loop\d+: \d\.\d MiB\n.*ext4/,
    );
  });

  it("do not differ from themselves", async () => {
    expect(await doppel.json("images", "diff", "after", "after")).toMatchObject({ changedBytes: 0 });
  });
});
