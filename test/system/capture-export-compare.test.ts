import { createHash } from "node:crypto";
import { closeSync, openSync, readdirSync, readFileSync, readSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage, fillAndFragment } from "../../fixtures/disks.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { Doppel, loginTo, must, possible, runCommand } from "./doppel.ts";

const MIB = 1024 * 1024;

/** Offsets in MiB. */
const ROOT = { start: 2, length: 300 };
const DATA = { start: 302, length: 330 };
const SWAP = { start: 632, length: 40 };
const DISK_MIB = 700;

/** A disk with GPT, ext4, XFS and swap, both file systems used and fragmented. */
async function makeDisk(): Promise<DiskImage> {
  const image = new DiskImage(DISK_MIB * MIB);
  const partition = (number: number, part: typeof ROOT) =>
    `--new=${number}:${part.start * 2048}:+${part.length}M`;
  await must(
    "sgdisk",
    "--set-alignment=2048",
    partition(1, ROOT),
    partition(2, DATA),
    partition(3, SWAP),
    image.path,
  );
  for (const [part, mkfs] of [
    [ROOT, ["mkfs.ext4", "-q"]],
    [DATA, ["mkfs.xfs", "-q", "-f"]],
    [SWAP, ["mkswap", "-q"]],
  ] as const) {
    const loop = image.attach({ offsetBytes: part.start * MIB, lengthBytes: part.length * MIB });
    await must(mkfs[0], ...mkfs.slice(1), loop);
    if (part !== SWAP) {
      const folder = image.mount(loop);
      fillAndFragment(folder, part.start, 150);
      image.unmount(folder);
    }
    image.detach(loop);
  }
  return image;
}

function sha256(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

describe.skipIf(!possible)("a captured disk", () => {
  let sshd: Sshd;
  let image: DiskImage;
  let disk: string;
  const doppel = new Doppel();
  /** How to reach the machine, without a disk, and with the disk. */
  let login: string[];
  let target: string[];

  beforeAll(async () => {
    sshd = await Sshd.start();
    image = await makeDisk();
    disk = image.attach({ readOnly: true });
    login = loginTo(sshd);
    target = [...login, "--disk", disk];
  });

  afterAll(async () => {
    image[Symbol.dispose]();
    doppel[Symbol.dispose]();
    await sshd[Symbol.asyncDispose]();
  });

  it("is read from a read-only device and left as it was", async () => {
    const before = sha256(image.path);
    const result = await doppel.json("capture", ...target, "--name", "disk");
    expect(result).toMatchObject({ grade: "offline", warnings: [] });
    expect(result.residentPeakBytes).toBeLessThan(64 * MIB);
    expect(sha256(image.path)).toBe(before);
  });

  it("exports to a clean qcow2 whose file systems are sound and hold the same files", async () => {
    const file = join(image.folder, "out.qcow2");
    await doppel.json("export", "disk", "-o", file);
    await must("qemu-img", "check", "-q", file);
    const info = JSON.parse(await must("qemu-img", "info", "--output=json", file));
    expect(info).toMatchObject({ "virtual-size": DISK_MIB * MIB, "cluster-size": 65_536 });
    expect(info["format-specific"].data["compression-type"]).toBe("zstd");
    const raw = join(image.folder, "out.raw");
    await must("qemu-img", "convert", "-O", "raw", file, raw);
    await sameFiles(raw);
  });

  it("exports to raw with the same bytes as the qcow2", async () => {
    const raw = join(image.folder, "direct.raw");
    await doppel.json("export", "disk", "-o", raw);
    await must("qemu-img", "compare", "-q", raw, join(image.folder, "out.qcow2"));
    await sameFiles(raw);
  });

  it("has the same bytes as the source wherever the maps say used, and zeros elsewhere", async () => {
    const shown = await doppel.json("images", "show", "disk");
    const map = await usedClusters();
    expect((shown.disks as { dataBytes: number }[])[0]?.dataBytes).toBeLessThan(map.size * 65_536 + 1);
    const source = openSync(image.path, "r");
    const copy = openSync(join(image.folder, "direct.raw"), "r");
    const left = Buffer.alloc(65_536);
    const right = Buffer.alloc(65_536);
    const zero = Buffer.alloc(65_536);
    for (let cluster = 0; cluster < (DISK_MIB * MIB) / 65_536; cluster++) {
      readSync(source, left, 0, left.length, cluster * 65_536);
      readSync(copy, right, 0, right.length, cluster * 65_536);
      const same = map.has(cluster) ? left.equals(right) : right.equals(zero);
      if (!same) throw new Error(`cluster ${cluster} differs`);
    }
    closeSync(source);
    closeSync(copy);
  });

  it("can be read by skopeo, and zstd gives the clusters of its packs back", async () => {
    const layout = join(doppel.home, "store");
    const inspected = JSON.parse(await must("skopeo", "inspect", `oci:${layout}:disk:latest`));
    expect(inspected.Labels["org.doppel.grade"]).toBe("offline");
    const shown = await doppel.json("images", "show", "disk");
    const { layers } = shown.manifest as { layers: { mediaType: string; digest: string }[] };
    const pack =
      layers.find((layer) => layer.mediaType.includes("pack"))?.digest.replace("sha256:", "") ?? "";
    const count = await must("bash", "-c", `zstd -dqc < '${join(layout, "blobs/sha256", pack)}' | wc -c`);
    expect(Number(count) % 65_536).toBe(0);
    expect(Number(count)).toBeGreaterThan(0);
  });

  it("verifies, and names pack and cluster once a byte is changed (exit 4)", async () => {
    expect((await doppel.run("images", "verify", "disk")).code).toBe(0);
    const shown = await doppel.json("images", "show", "disk");
    const { layers } = shown.manifest as { layers: { mediaType: string; digest: string }[] };
    const digest = layers.find((layer) => layer.mediaType.includes("pack"))?.digest ?? "";
    const path = join(doppel.home, "store/blobs/sha256", digest.replace("sha256:", ""));
    const flip = () => {
      const file = openSync(path, "r+");
      const byte = Buffer.alloc(1);
      readSync(file, byte, 0, 1, 5000);
      // A whole byte: one bit of a frame's header means nothing (RFC 8878, 3.1.1.1.1.3), and where frames begin differs.
      byte[0] = (byte[0] ?? 0) ^ 0xff;
      writeSync(file, byte, 0, 1, 5000);
      closeSync(file);
    };
    flip();
    const { code, stdout } = await doppel.run("images", "verify", "disk", "--json");
    const exported = await doppel.run("export", "disk", "-o", join(image.folder, "bad.qcow2"));
    flip();
    expect(code).toBe(4);
    const report = JSON.parse(stdout);
    expect(report.findings[0]).toMatchObject({
      blob: digest,
      hurts: [{ disk: expect.any(String), count: 1 }],
    });
    expect(exported).toMatchObject({ code: 1, stderr: expect.stringContaining("pack-corrupt") });
    expect(readdirSync(image.folder).filter((name) => name.includes("bad"))).toEqual([]);
    expect((await doppel.run("images", "verify", "disk")).code).toBe(0);
  });

  it("says what it would do with --dry-run, and keeps nothing", async () => {
    using other = new Doppel();
    const plan = await other.json("capture", ...target, "--name", "never", "--dry-run");
    expect(plan).toMatchObject({ dryRun: true, expectedGrade: "offline" });
    expect(await other.json("images", "ls")).toEqual([]);
  });

  it("is refused by name when it does not exist (exit 3), when the name is no REF (exit 2)", async () => {
    const unknown = await doppel.run("capture", ...login, "--disk", "/dev/no-such", "--name", "x");
    expect(unknown).toMatchObject({ code: 3, stderr: expect.stringContaining("/dev/no-such") });
    const invalid = await doppel.run("capture", ...target, "--name", "Not A Name");
    expect(invalid).toMatchObject({ code: 2, stderr: expect.stringContaining("reference-invalid") });
  });

  it("goes to one name from one capture at a time; the other is refused (exit 3)", async () => {
    const slow = doppel.run("capture", ...target, "--name", "same", "--limit-rate", "5M");
    const both = await Promise.all([
      slow,
      doppel.run("capture", ...target, "--name", "same", "--limit-rate", "5M"),
    ]);
    expect(both.map((result) => result.code).sort()).toEqual([0, 3]);
    expect(both.find((result) => result.code === 3)?.stderr).toContain("name-busy");
  });

  it("that ends early on the source stops the capture with the sector named, or is zeros on request", async () => {
    using short = new DiskImage(64 * MIB);
    await must(
      "dd",
      "if=/dev/urandom",
      `of=${short.path}`,
      "bs=1M",
      "count=64",
      "status=none",
      "conv=notrunc",
    );
    const loop = short.attach();
    truncateSync(short.path, 48 * MIB);
    const args = [...login, "--disk", loop, "--name", "short"];
    const stopped = await doppel.run("capture", ...args);
    expect(stopped).toMatchObject({ code: 1, stderr: expect.stringContaining("read-error") });
    expect(stopped.stderr).toContain(`sector ${(48 * MIB) / 512}`);
    expect((await doppel.run("images", "show", "short")).stderr).toContain("image-unknown");
    const zeroed = await doppel.json("capture", ...args, "--on-read-error", "zero");
    expect(zeroed).toMatchObject({ readErrors: 256 });
    const [first] = (zeroed.disks as { readErrors: { cluster: number }[] }[])[0]?.readErrors ?? [];
    expect(first?.cluster).toBe((48 * MIB) / 65_536);
  });

  /** The clusters that the agent's own map marks: compared with peers in another test. */
  async function usedClusters(): Promise<Set<number>> {
    const agent = join(import.meta.dirname, "../../native/build/x86_64/doppel-agent");
    const { regions } = JSON.parse(await must(agent, "map", "--json", "--extents", image.path));
    const used = new Set<number>();
    for (const region of regions as { extents: [number, number][] }[]) {
      for (const [offset, length] of region.extents) {
        for (let cluster = Math.floor(offset / 65_536); cluster * 65_536 < offset + length; cluster++)
          used.add(cluster);
      }
    }
    return used;
  }

  /** Checks the file systems of a copy with their own tools and compares their files with the source's. */
  async function sameFiles(raw: string): Promise<void> {
    for (const part of [ROOT, DATA]) {
      const sums: string[] = [];
      for (const path of [image.path, raw]) {
        const range = ["--offset", String(part.start * MIB), "--sizelimit", String(part.length * MIB)];
        const loop = (await must("losetup", "--find", "--show", "--read-only", ...range, path)).trim();
        const folder = join(image.folder, "look");
        try {
          if (part === ROOT) await must("e2fsck", "-fn", loop);
          else await must("xfs_repair", "-n", loop);
          await must("mkdir", "-p", folder);
          await must("mount", "-o", "ro", loop, folder);
          const list = `cd '${folder}' && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum`;
          sums.push(await must("bash", "-c", list));
          await must("umount", folder);
        } finally {
          await runCommand("losetup", ["--detach", loop]);
        }
      }
      expect(sums[0]).toBe(sums[1]);
    }
  }
});
