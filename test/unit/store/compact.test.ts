import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { clusterOf, type Slice, sealSlices, writePack } from "../../../fixtures/small-images.ts";
import { ClusterReader } from "../../../src/image/cluster-reader.ts";
import { parseReference } from "../../../src/image/reference.ts";
import { attach } from "../../../src/store/attachments.ts";
import { compactImages } from "../../../src/store/compact.ts";
import { collectGarbage } from "../../../src/store/gc.ts";
import { ImageStore } from "../../../src/store/image-store.ts";
import { UsedFrames } from "../../../src/store/pack-usage.ts";
import { verifyImage } from "../../../src/store/verify.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-compact-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

async function inStore<T>(work: (store: ImageStore) => Promise<T>): Promise<T> {
  await using store = await ImageStore.open(home);
  return await work(store);
}

const OPTIONS = { movable: ["test/boots"], published: false, dryRun: false };

function compact(options: Partial<typeof OPTIONS> = {}) {
  return inStore((store) => compactImages(store, { ...OPTIONS, ...options }));
}

function collect() {
  return inStore((store) => collectGarbage(store, { dryRun: false, graceMs: 0 }));
}

/** The clusters of an image's disk, which must be what the slices say. */
async function expectContent(name: string, seed: string, frames: readonly number[]): Promise<string> {
  return await inStore(async (store) => {
    const image = await store.resolve(parseReference(name));
    expect(await verifyImage(store, image)).toMatchObject({ findingCount: 0 });
    await using disk = await store.openDisk(image, 0);
    const clusters = await new ClusterReader(disk).clusters(0, frames.length);
    for (const [cluster, frame] of frames.entries())
      expect(clusters[cluster]?.equals(clusterOf(seed, frame)), `cluster ${cluster}`).toBe(true);
    return image.digest;
  });
}

function storedBytes(): number {
  const folder = join(home, "store/blobs/sha256");
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

function evidence(artifactType: string) {
  const files = [{ title: "a", mediaType: "text/plain", content: Buffer.from("it boots") }];
  return { artifactType, created: "2026-01-01T00:00:00Z", annotations: { result: "yes" }, files };
}

/** A store with a pack of 32 frames: all of it in `whole`, two parts of it in `part`, one in `child`. */
async function prepare(): Promise<{ whole: string; part: string; child: string }> {
  return await inStore(async (store) => {
    const pack = await writePack(store, "p", 32);
    const slice = (firstFrame: number, count: number): Slice => ({ pack, firstFrame, count });
    const whole = await sealSlices(store, "whole", [slice(0, 32)]);
    const part = await sealSlices(store, "part", [slice(20, 4), slice(3, 5)]);
    const child = await sealSlices(store, "child", [slice(6, 7)], { parent: part.digest });
    return { whole: whole.digest, part: part.digest, child: child.digest };
  });
}

const PART = [20, 21, 22, 23, 3, 4, 5, 6, 7];
const CHILD = [6, 7, 8, 9, 10, 11, 12];

describe("compaction", () => {
  it("does nothing while all frames of a pack are used", async () => {
    await prepare();
    expect(await compact()).toMatchObject({ packs: 0, images: [] });
  });

  it("repacks what is left, and names, children and machines follow", async () => {
    const before = await prepare();
    mkdirSync(join(home, "instances/vm1"), { recursive: true });
    const instance = { name: "vm1", imageDigest: before.part };
    writeFileSync(join(home, "instances/vm1/instance.json"), JSON.stringify(instance));
    await inStore(async (store) => store.untag(parseReference("whole")));
    await collect();
    const bytes = storedBytes();
    const dry = await compact({ dryRun: true });
    expect(dry).toMatchObject({ packs: 1, images: [{ after: null }, { after: null }] });
    expect(storedBytes()).toBe(bytes);
    const report = await compact();
    expect(report).toMatchObject({ packs: 1, deadBytes: dry.deadBytes, skipped: [] });
    expect(await collect()).toMatchObject({ images: expect.arrayContaining([before.part, before.child]) });
    expect(storedBytes()).toBeLessThan(bytes);
    const part = await expectContent("part", "p", PART);
    const child = await expectContent("child", "p", CHILD);
    await expectContent(`part@${before.part}`, "p", PART);
    await inStore(async (store) => {
      expect(store.catalog.childrenOf(part)).toEqual([child]);
      store.untag(parseReference("part"));
      store.untag(parseReference("child"));
    });
    expect(await collect()).toMatchObject({ images: [child] });
    expect(await compact()).toMatchObject({ packs: 1 });
    await expectContent(`part@${before.part}`, "p", PART);
  });

  it("is remembered when the catalog is lost", async () => {
    const before = await prepare();
    await inStore(async (store) => store.untag(parseReference("whole")));
    await collect();
    await compact();
    await collect();
    for (const file of ["catalog.db", "catalog.db-wal", "catalog.db-shm"])
      rmSync(join(home, file), { force: true });
    const part = await expectContent(`part@${before.part}`, "p", PART);
    await inStore(async (store) => expect(store.catalog.childrenOf(part)).toHaveLength(1));
  });

  it("takes along what holds for the same disks, and refuses what vouches for a digest", async () => {
    const before = await prepare();
    await inStore(async (store) => store.untag(parseReference("whole")));
    await collect();
    await inStore(async (store) => {
      const image = await store.resolve(parseReference("part"));
      await attach(store, image, evidence("test/boots"));
      await attach(store, image, evidence("test/signature"));
    });
    expect(await compact()).toMatchObject({
      ...{ packs: 0, images: [] },
      skipped: [{ why: [expect.stringContaining("part:latest has a test/signature")] }],
    });
    await inStore(async (store) =>
      store.catalog.database.prepare("DELETE FROM attachments WHERE artifact_type = 'test/signature'").run(),
    );
    expect(await compact()).toMatchObject({ packs: 1 });
    await collect();
    const part = await expectContent("part", "p", PART);
    await inStore(async (store) => {
      expect(store.catalog.attachments(part)).toMatchObject([
        { subject: part, annotations: { result: "yes", "org.doppel.made-for": before.part } },
      ]);
    });
  });

  it("leaves an image alone that a registry has under its digest, unless told otherwise", async () => {
    const before = await prepare();
    await inStore(async (store) => {
      store.untag(parseReference("whole"));
      store.catalog.addRemote(before.child, "registry.example.org/child:latest");
    });
    const why = ["child:latest is registry.example.org/child:latest in a registry"];
    expect(await compact()).toMatchObject({ packs: 0, skipped: [{ why }] });
    expect(await compact({ published: true })).toMatchObject({ packs: 1, skipped: [] });
  });

  it("changes nothing when a frame is damaged: damage does not get a new digest", async () => {
    const before = await prepare();
    await inStore(async (store) => {
      store.untag(parseReference("whole"));
      const [pack] = (await store.load(before.part)).manifest.layers.slice(-1);
      truncateSync(store.blobs.pathOf(pack?.digest ?? ""), (pack?.size ?? 0) - 1);
    });
    await expect(compact()).rejects.toMatchObject({ code: "pack-corrupt" });
    await inStore(async (store) => expect(store.find(parseReference("part"))).toBe(before.part));
  });

  it("reads to its end although all of its images are removed meanwhile", async () => {
    await prepare();
    await inStore(async (store) => {
      const compacting = compactImages(store, OPTIONS);
      await inStore(async (other) => {
        for (const name of ["whole", "part", "child"]) other.untag(parseReference(name));
      });
      expect(await collect()).toMatchObject({ blobs: 0 });
      await compacting;
    });
    await collect();
    expect(readdirSync(join(home, "store/blobs/sha256"))).toEqual([]);
  });

  it("does not replace an image that was removed or changed meanwhile", async () => {
    const before = await prepare();
    await inStore(async (store) => store.untag(parseReference("whole")));
    await collect();
    await inStore(async (store) => {
      const compacting = compactImages(store, OPTIONS);
      await using other = await ImageStore.open(home);
      await attach(other, await other.resolve(parseReference("part")), evidence("test/signature"));
      const { images } = await compacting;
      const part = images.find(({ names }) => names[0] === "part:latest");
      if (part?.after !== null)
        expect((await store.resolve(parseReference("part"))).digest).toBe(part?.after);
      else expect(store.catalog.attachments(before.part)).toHaveLength(1);
    });
    await collect();
    await expectContent("part", "p", PART);
  });
});

describe("the used frames of a pack", () => {
  it("come in runs that are just what was added, none longer than asked for", () => {
    const ranges = fc.array(fc.tuple(fc.nat(90), fc.integer({ min: 1, max: 10 })), { maxLength: 12 });
    fc.assert(
      fc.property(ranges, fc.integer({ min: 1, max: 16 }), (added, most) => {
        const used = new UsedFrames(100);
        const expected = new Set<number>();
        for (const [first, count] of added) {
          used.add(first, count);
          for (let frame = first; frame < first + count; frame++) expected.add(frame);
        }
        const frames: number[] = [];
        for (const { firstFrame, count } of used.runs(most)) {
          expect(count).toBeLessThanOrEqual(most);
          for (let frame = firstFrame; frame < firstFrame + count; frame++) frames.push(frame);
        }
        expect(frames).toEqual([...expected].sort((a, b) => a - b));
        expect(used.liveFrames).toBe(expected.size);
      }),
    );
  });
});
