import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Compressor } from "zstd-napi";
import { seeded } from "../../fixtures/disks.ts";
import { chooseFormat, exportDisk } from "../../src/format/export.ts";
import { CLUSTER_BYTES, RAW_FRAME_BYTES } from "../../src/image/cluster.ts";
import { DiskMap, DiskMapEncoder, type MapPack } from "../../src/image/disk-map.ts";
import { DiskReader } from "../../src/image/disk-reader.ts";
import { clusterHash } from "../../src/image/frame.ts";
import { encodePackTrailer, FRAME_ENTRY_BYTES } from "../../src/image/pack.ts";
import { BlobStore } from "../../src/store/blobs.ts";
import { Doppel, must, possible, runCommand, Source } from "./doppel.ts";

const KINDS = ["hole", "same", "text", "random", "zero"] as const;
type Kind = (typeof KINDS)[number];

interface Disk {
  kinds: Kind[];
  /** Bytes that the last cluster lacks. */
  missingBytes: number;
  packs: number;
  seed: number;
}

const disks = fc.record<Disk>({
  kinds: fc.oneof(
    fc.array(fc.constantFrom(...KINDS), { minLength: 1, maxLength: 120 }),
    fc.array(fc.constantFrom<Kind>("random"), { minLength: 1, maxLength: 80 }),
    fc.array(fc.constantFrom<Kind>("same", "text"), { minLength: 1, maxLength: 300 }),
    fc.array(fc.constant<Kind>("hole"), { minLength: 1, maxLength: 9000 }),
  ),
  missingBytes: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: CLUSTER_BYTES - 1 })),
  packs: fc.integer({ min: 1, max: 9 }),
  seed: fc.nat(),
});

const compressor = new Compressor();
compressor.setParameters({ checksumFlag: true });

function clusterOf(kind: Kind, number: number): Buffer {
  if (kind === "random") return randomBytes(CLUSTER_BYTES);
  if (kind === "same") return Buffer.alloc(CLUSTER_BYTES, (number % 255) + 1);
  if (kind === "zero") return Buffer.alloc(CLUSTER_BYTES);
  return Buffer.from(`line ${number} of a text\n`.repeat(5000)).subarray(0, CLUSTER_BYTES);
}

/** Stores a disk with its frames in any order over several packs, as children that share packs have them. */
async function store(blobs: BlobStore, disk: Disk): Promise<{ map: string; content: Buffer }> {
  const diskBytes = disk.kinds.length * CLUSTER_BYTES - disk.missingBytes;
  const content = Buffer.alloc(diskBytes);
  const random = seeded(disk.seed);
  const frames: { cluster: number; frame: Buffer; hash: Buffer }[][] = Array.from(
    { length: disk.packs },
    () => [],
  );
  for (const [cluster, kind] of disk.kinds.entries()) {
    if (kind === "hole") continue;
    const raw = clusterOf(kind, cluster);
    const last = raw.subarray(0, Math.max(0, Math.min(CLUSTER_BYTES, diskBytes - cluster * CLUSTER_BYTES)));
    last.copy(content, cluster * CLUSTER_BYTES);
    // What the disk does not have is zeros to a whole cluster.
    const padded = Buffer.concat([last, Buffer.alloc(CLUSTER_BYTES - last.length)]);
    const frame = compressor.compress(padded);
    if (kind === "random" && last.length === CLUSTER_BYTES) expect(frame.length).toBe(RAW_FRAME_BYTES);
    frames[Math.floor(random() * disk.packs)]?.push({ cluster, frame, hash: clusterHash(padded) });
  }
  const packs: MapPack[] = [];
  const places = new Map<number, { pack: number; firstFrame: number }>();
  for (const pack of frames) {
    if (pack.length === 0) continue;
    pack.sort(() => random() - 0.5);
    const table = Buffer.alloc(pack.length * FRAME_ENTRY_BYTES);
    for (const [index, { cluster, frame, hash }] of pack.entries()) {
      table.writeUInt32LE(frame.length, index * FRAME_ENTRY_BYTES);
      hash.copy(table, index * FRAME_ENTRY_BYTES + 4);
      places.set(cluster, { pack: packs.length, firstFrame: index });
    }
    const bytes = Buffer.concat(pack.map(({ frame }) => frame));
    const blob = await blobs.put(Buffer.concat([bytes, encodePackTrailer(table, bytes.length)]));
    packs.push({ ...blob, frameCount: pack.length });
  }
  const encoder = new DiskMapEncoder(diskBytes);
  const parts = [encoder.header()];
  for (const cluster of [...places.keys()].sort((a, b) => a - b)) {
    const place = places.get(cluster);
    const encoded = place && encoder.add({ firstCluster: cluster, count: 1, ...place });
    if (encoded) parts.push(encoded);
  }
  const { digest } = await blobs.put(Buffer.concat([...parts, encoder.finish(packs)]));
  return { map: digest, content };
}

/** Returns once a file is there. */
async function begun(folder: string): Promise<void> {
  await expect.poll(() => readdirSync(folder).length, { interval: 1, timeout: 20_000 }).toBeGreaterThan(0);
}

describe("an export", () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-export-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("of any disk is clean for qemu-img, and has its bytes: odd ends, holes, raw frames, scattered packs", async () => {
    const blobs = await BlobStore.open(join(folder, "store"));
    let run = 0;
    await fc.assert(
      fc.asyncProperty(disks, async (disk) => {
        const { map, content } = await store(blobs, disk);
        const base = join(folder, String(run++));
        for (const format of ["qcow2", "raw", "vmdk", "vmdk-sparse"]) {
          const mapBlob = await blobs.openBlob(map);
          await using reader = new DiskReader(
            await DiskMap.open(mapBlob, map),
            (d) => blobs.openBlob(d),
            mapBlob,
          );
          const path = `${base}.${format}`;
          await exportDisk(reader, {
            path,
            format: chooseFormat(format, path),
            openPack: (d) => blobs.openBlob(d),
          });
        }
        expect(readFileSync(`${base}.raw`).equals(content)).toBe(true);
        // Of all but raw a disk has whole sectors.
        truncateSync(`${base}.raw`, Math.ceil(content.length / 512) * 512);
        for (const [format, driver] of [
          ["qcow2", "qcow2"],
          ["vmdk", "vmdk"],
          ["vmdk-sparse", "vmdk"],
        ] as const) {
          const path = `${base}.${format}`;
          await must("qemu-img", "check", "-q", "-f", driver, path);
          await must("qemu-img", "compare", "-q", "-f", "raw", "-F", driver, `${base}.raw`, path);
          rmSync(path);
        }
        rmSync(`${base}.raw`);
      }),
      { numRuns: 150, seed: 7 },
    );
  });
});

describe.skipIf(!possible)("an export on the command line", () => {
  let source: Source;
  const doppel = new Doppel();

  beforeAll(async () => {
    source = await Source.start(200);
    await doppel.json(...source.capture, "--name", "disk");
  });

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
  });

  it("refuses a file that is there (exit 3), and replaces it with --force only when the new one is whole", async () => {
    const file = join(source.image.folder, "there.qcow2");
    writeFileSync(file, "precious");
    const refused = await doppel.run("export", "disk", "-o", file);
    expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining("file-exists") });
    expect(readFileSync(file, "utf8")).toBe("precious");
    await doppel.json("export", "disk", "-o", file, "--force");
    await must("qemu-img", "check", "-q", file);
  });

  it("refuses a format or a disk that there is not (exit 2), and a folder that there is not", async () => {
    const file = join(source.image.folder, "x.qcow2");
    const format = await doppel.run("export", "disk", "-o", file, "--format", "zip");
    expect(format).toMatchObject({ code: 2, stderr: expect.stringContaining("qcow2, raw") });
    const disk = await doppel.run("export", "disk", "-o", file, "--disk", "7");
    expect(disk).toMatchObject({ code: 2, stderr: expect.stringContaining("disk-unknown") });
    const folder = await doppel.run("export", "disk", "-o", join(source.image.folder, "none/x.qcow2"));
    expect(folder).toMatchObject({ code: 1, stderr: expect.stringContaining("folder-missing") });
  });

  it("refuses a file system without room before it writes, and leaves nothing when room ends meanwhile", async () => {
    const folder = mkdtempSync(join(tmpdir(), "doppel-small-"));
    await must("mount", "-t", "tmpfs", "-o", "size=100m", "none", folder);
    try {
      const before = await doppel.run("export", "disk", "-o", join(folder, "x.qcow2"));
      expect(before).toMatchObject({ code: 1, stderr: expect.stringMatching(/needs 20\d MiB.*ENOSPC/) });
      await must("mount", "-o", "remount,size=230m", folder);
      const running = doppel.start("export", "disk", "-o", join(folder, "x.qcow2"));
      // Somebody else takes the room once the export has begun.
      await begun(folder);
      running.child.kill("SIGSTOP");
      await runCommand("fallocate", ["-l", "150M", join(folder, "other")]);
      running.child.kill("SIGCONT");
      const during = await running.ended;
      expect(during).toMatchObject({ code: 1, stderr: expect.stringContaining("ENOSPC") });
      expect(readdirSync(folder)).toEqual(["other"]);
    } finally {
      await must("umount", folder);
      rmSync(folder, { recursive: true });
    }
  });

  it("leaves nothing when it is interrupted (exit 130)", async () => {
    const folder = mkdtempSync(join(tmpdir(), "doppel-int-"));
    const running = doppel.start("export", "disk", "-o", join(folder, "x.raw"));
    await begun(folder);
    running.child.kill("SIGINT");
    expect(await running.ended).toMatchObject({ code: 130 });
    expect(readdirSync(folder)).toEqual([]);
    rmSync(folder, { recursive: true });
  });
});
