import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage } from "../../fixtures/disks.ts";
import { Doppel, must, possible, Source } from "./doppel.ts";

const CLUSTER = 65_536;
const MIB = 1024 * 1024;

/** Writes bytes into a file that stands for a disk. */
function write(image: DiskImage, offset: number, bytes: Buffer): void {
  const file = openSync(image.path, "r+");
  writeSync(file, bytes, 0, bytes.length, offset);
  fsyncSync(file);
  closeSync(file);
}

async function expectSameAsDisk(doppel: Doppel, name: string, source: Source): Promise<void> {
  const raw = join(doppel.home, `${name}.raw`);
  await doppel.json("export", name, "-o", raw);
  await must("cmp", raw, source.image.path);
  rmSync(raw);
}

describe.skipIf(!possible)("a re-capture", () => {
  let source: Source;
  let doppel: Doppel;

  beforeAll(async () => {
    source = await Source.start(48);
    doppel = new Doppel();
    await doppel.json(...source.capture, "--name", "first");
  });

  afterAll(async () => {
    doppel[Symbol.dispose]();
    await source[Symbol.asyncDispose]();
  });

  it("sends and stores only what changed, and says what it was compared with", async () => {
    write(source.image, 3 * MIB + 17, Buffer.from("changed"));
    write(source.image, 20 * MIB, Buffer.alloc(3 * CLUSTER, 7));
    write(source.image, 30 * MIB, Buffer.alloc(2 * CLUSTER));
    const result = await doppel.json(...source.capture, "--name", "second", "--parent", "first");
    const first = (await doppel.json("images", "show", "first")) as { digest: string };
    expect(result).toMatchObject({
      ...{ framesSent: 4, zeroClusters: 2, sameBytes: 48 * MIB - 6 * CLUSTER, parent: first.digest },
      disks: [
        {
          dataBytes: 48 * MIB - 2 * CLUSTER,
          changed: [
            { offsetBytes: 3 * MIB, lengthBytes: CLUSTER },
            { offsetBytes: 20 * MIB, lengthBytes: 3 * CLUSTER },
            { offsetBytes: 30 * MIB, lengthBytes: 2 * CLUSTER },
          ],
        },
      ],
    });
    expect(result.sentBytes).toBeLessThan(MIB);
    expect(await doppel.json("images", "show", "second")).toMatchObject({
      lineage: { kind: "capture", parent: first.digest },
    });
    await expectSameAsDisk(doppel, "second", source);
    expect((await doppel.run("images", "verify", "second")).code).toBe(0);
  });

  it("of a child is another child, and none of them needs the one before by name", async () => {
    write(source.image, 10 * MIB, Buffer.from("again"));
    await doppel.json(...source.capture, "--name", "third", "--parent", "second");
    await doppel.json("images", "rm", "first");
    await doppel.json("images", "gc");
    await expectSameAsDisk(doppel, "third", source);
  });

  it("of nothing new stores no pack", async () => {
    const result = await doppel.json(...source.capture, "--name", "same", "--parent", "third");
    expect(result).toMatchObject({ framesSent: 0, storedBytes: 0, disks: [{ changed: [] }] });
    await expectSameAsDisk(doppel, "same", source);
  });

  it("tells beforehand what it would compare", async () => {
    const args = [...source.capture, "--name", "x", "--parent", "third", "--dry-run"];
    expect(await doppel.json(...args)).toMatchObject({
      comparisons: [{ device: source.disk, with: "parent", knownBytes: 48 * MIB - 2 * CLUSTER }],
    });
    const { stdout } = await doppel.run(...args);
    expect(stdout).toContain(`${source.disk}: compared with the parent, 47.9 MiB of it`);
  });

  it("captures again what lies in a pack that cannot be read, with a warning", async () => {
    const shown = (await doppel.json("images", "show", "third")) as {
      manifest: { layers: { digest: string; mediaType: string; size: number }[] };
    };
    const packs = shown.manifest.layers.filter(({ mediaType }) => mediaType.includes("pack"));
    const largest = packs.toSorted((a, b) => b.size - a.size)[0];
    const path = join(doppel.home, "store/blobs/sha256", largest?.digest.slice("sha256:".length) ?? "");
    const sound = readFileSync(path);
    const rotten = Buffer.from(sound);
    rotten.fill(0, rotten.length - 40, rotten.length - 20);
    writeFileSync(path, rotten);
    try {
      const again = (await doppel.json(...source.capture, "--name", "healed", "--parent", "third")) as {
        warnings: string[];
        framesSent: number;
      };
      expect(again.warnings).toEqual([expect.stringMatching(/pack that cannot be read.*captured again/)]);
      expect(again.framesSent).toBeGreaterThan(600);
      await expectSameAsDisk(doppel, "healed", source);
    } finally {
      writeFileSync(path, sound);
    }
  });

  it("refuses a parent that is not here, and one without such a disk", async () => {
    const unknown = await doppel.run(...source.capture, "--name", "x", "--parent", "nobody");
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining("[image-unknown]") });
    using other = new DiskImage(8 * MIB);
    const login = source.capture.slice(0, -1);
    const unrelated = await doppel.run(...login, other.attach(), "--name", "x", "--parent", "third");
    expect(unrelated).toMatchObject({ code: 3, stderr: expect.stringContaining("[parent-unrelated]") });
    expect(readdirSync(join(doppel.home, "store/uploads"))).toEqual([]);
  });

  it("takes a disk that is new whole, and compares one that has another size as far as both go", async () => {
    const file = join(doppel.home, "resized.img");
    await must("cp", source.image.path, file);
    const loop = (await must("losetup", "--find", "--show", file)).trim();
    const capture = async (name: string, parent: string) => {
      const disks = ["--disk", source.disk, "--disk", loop];
      const result = await doppel.json(
        "capture",
        ...source.login,
        ...disks,
        "--name",
        name,
        "--parent",
        parent,
      );
      const raw = join(doppel.home, "resized.raw");
      await doppel.json("export", name, "-o", raw, "--disk", "1");
      await must("cmp", raw, file);
      rmSync(raw);
      return result as { disks: object[]; framesSent: number };
    };
    try {
      const added = await capture("added", "third");
      expect(added).toMatchObject({ framesSent: 766, disks: [{ changed: [] }, {}] });
      expect(added.disks[1]).not.toHaveProperty("changed");
      await must("truncate", "-s", String(50 * MIB + 4096), file);
      await must("losetup", "-c", loop);
      await must("dd", "if=/dev/urandom", `of=${loop}`, "bs=4096", "seek=12800", "count=1", "status=none");
      const grown = { offsetBytes: 50 * MIB, lengthBytes: 4096 };
      expect(await capture("grown", "added")).toMatchObject({
        ...{ framesSent: 1, disks: [{ changed: [] }, { changed: [grown] }] },
      });
      await must("truncate", "-s", String(40 * MIB), file);
      await must("losetup", "-c", loop);
      expect(await capture("shrunk", "grown")).toMatchObject({ framesSent: 0 });
    } finally {
      await must("losetup", "--detach", loop);
    }
  });
});
