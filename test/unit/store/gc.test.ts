import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseReference } from "../../../src/image/reference.ts";
import { attach } from "../../../src/store/attachments.ts";
import { collectGarbage, DEFAULT_GRACE_MS } from "../../../src/store/gc.ts";
import { ImageStore } from "../../../src/store/image-store.ts";
import { verifyImage } from "../../../src/store/verify.ts";
import { seal } from "./sealed-image.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-gc-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const NOW = { dryRun: false, graceMs: 0 };

async function collect(options: Partial<typeof NOW> = {}) {
  await using store = await ImageStore.open(home);
  return await collectGarbage(store, { ...NOW, ...options });
}

/** A store whose process ends when `end` is called; it is not told to close. */
async function process(): Promise<{ store: ImageStore; end: () => Promise<void> }> {
  const store = await ImageStore.open(home);
  return { store, end: () => store[Symbol.asyncDispose]() };
}

async function sealed(name: string, diskBytes?: number, parent?: string) {
  await using store = await ImageStore.open(home);
  return await seal(store, name, diskBytes, parent);
}

async function untag(name: string): Promise<void> {
  await using store = await ImageStore.open(home);
  store.untag(parseReference(name));
}

function blobs(): string[] {
  return readdirSync(join(home, "store/blobs/sha256")).sort();
}

const REPORT = Buffer.from("report");

describe("garbage collection", () => {
  it("puts what nothing names into quarantine, and unlinks it when the grace period is over", async () => {
    const kept = await sealed("kept");
    await sealed("dropped", 131_072);
    await untag("dropped");
    const before = blobs();
    expect(await collect({ dryRun: true })).toMatchObject({ images: [expect.any(String)], blobs: 3 });
    expect(blobs()).toEqual(before);
    expect(await collect({ graceMs: DEFAULT_GRACE_MS })).toMatchObject({
      ...{ images: [expect.stringMatching(/^sha256:/)], blobs: 0 },
      ...{ quarantinedBlobs: 3, waitingBlobs: 3, freedBytes: 0 },
    });
    expect(await collect({ graceMs: DEFAULT_GRACE_MS })).toMatchObject({ blobs: 0, waitingBlobs: 3 });
    const report = await collect();
    expect(report).toMatchObject({ blobs: 3, waitingBlobs: 0 });
    expect(report.freedBytes).toBeGreaterThan(0);
    expect(readdirSync(join(home, "store/quarantine"))).toEqual([]);
    await using store = await ImageStore.open(home);
    expect((await store.resolve(parseReference("kept"))).digest).toBe(kept.digest);
    expect(blobs()).toHaveLength(3);
  });

  it("brings a blob back that is put, looked for or read again", async () => {
    await using store = await ImageStore.open(home);
    const content = (name: string) => Buffer.from(name);
    const [put, found, read] = await Promise.all(
      ["put", "found", "read"].map((name) => store.blobs.put(content(name))),
    );
    expect(await collect()).toMatchObject({ quarantinedBlobs: 3, blobs: 0 });
    expect(blobs()).toEqual([]);
    await store.blobs.put(content("put"));
    expect(await store.blobs.size(found?.digest ?? "")).toBe(5);
    expect(await store.blobs.read(read?.digest ?? "", 100)).toEqual(content("read"));
    expect(blobs()).toEqual([put, found, read].map((blob) => blob?.digest.slice(7)).sort());
  });

  it("unlinks nothing that a process may have found in its place, and says for whom it waits", async () => {
    const { digest } = await sealed("pulled");
    const puller = await process();
    const { manifest } = await puller.store.load(digest);
    const layers = [manifest.config, ...manifest.layers];
    for (const layer of layers) expect(await puller.store.blobs.size(layer.digest)).toBe(layer.size);
    await untag("pulled");
    const report = await collect();
    expect(report).toMatchObject({ images: [digest], blobs: 0, waitingBlobs: 3 });
    expect(report.waitsFor).toMatchObject({ pid: globalThis.process.pid });
    // The process goes on as if nothing had happened, and seals what it has found.
    const image = await puller.store.adoptImage(parseReference("pulled:again"), digest);
    await puller.end();
    expect(await collect()).toMatchObject({ images: [], blobs: 0 });
    await using store = await ImageStore.open(home);
    expect(await verifyImage(store, image)).toMatchObject({ findingCount: 0 });
    expect(blobs()).toHaveLength(3);
  });

  it("unlinks what a process that was killed had found", async () => {
    await sealed("gone");
    const killed = await process();
    await killed.store.blobs.put(Buffer.from("left behind"));
    await untag("gone");
    expect(await collect()).toMatchObject({ blobs: 0, waitingBlobs: 4 });
    killed.store.catalog.database.prepare("UPDATE leases SET process_start = 'another boot/1'").run();
    expect(await collect()).toMatchObject({ blobs: 4, waitingBlobs: 0 });
    expect(blobs()).toEqual([]);
    await killed.end();
  });

  it("does not wait for a process that began after the blob was taken away", async () => {
    await sealed("gone");
    await untag("gone");
    await collect({ graceMs: DEFAULT_GRACE_MS });
    const later = await process();
    await later.store.blobs.put(Buffer.from("new"));
    expect(await collect()).toMatchObject({ blobs: 3, quarantinedBlobs: 1, waitingBlobs: 1 });
    await later.end();
  });

  it("keeps an image that a process uses, its catalog entry and what it attaches to it", async () => {
    const { digest } = await sealed("pushed");
    const pusher = await process();
    const image = await pusher.store.resolve(parseReference("pushed"));
    await untag("pushed");
    expect(await collect()).toMatchObject({ images: [], quarantinedBlobs: 0 });
    await attach(pusher.store, image, {
      ...{ artifactType: "text/plain", created: new Date().toISOString(), annotations: {} },
      files: [{ title: "a", mediaType: "text/plain", content: REPORT }],
    });
    expect(await collect()).toMatchObject({ images: [], quarantinedBlobs: 0 });
    await pusher.end();
    expect(await collect()).toMatchObject({ images: [digest], blobs: 6 });
  });

  it("keeps what is attached whole when its blobs had been taken away meanwhile", async () => {
    await sealed("tested");
    const tester = await process();
    const image = await tester.store.resolve(parseReference("tested"));
    const { size } = await tester.store.blobs.put(REPORT).then(async ({ digest, sizeBytes }) => {
      await collect();
      expect(blobs()).not.toContain(digest.slice(7));
      return { size: sizeBytes };
    });
    expect(size).toBe(REPORT.length);
    await attach(tester.store, image, {
      ...{ artifactType: "text/plain", created: new Date().toISOString(), annotations: {} },
      files: [{ title: "a", mediaType: "text/plain", content: REPORT }],
    });
    await tester.end();
    expect(await collect()).toMatchObject({ blobs: 0 });
    expect(blobs()).toHaveLength(6);
  });

  it("refuses what is done to an image that is gone: a name, an attachment", async () => {
    const image = await sealed("gone");
    await untag("gone");
    await collect();
    await using store = await ImageStore.open(home);
    expect(() => store.tag(parseReference("again"), image.digest)).toThrow(
      expect.objectContaining({ code: "image-unknown" }),
    );
    const attaching = attach(store, image, {
      ...{ artifactType: "text/plain", created: new Date().toISOString(), annotations: {}, files: [] },
    });
    await expect(attaching).rejects.toMatchObject({ code: "image-unknown" });
  });

  it("keeps an image for its child, and the cached base of a machine even when the catalog was lost", async () => {
    const parent = await sealed("parent");
    await sealed("child", 131_072, parent.digest);
    await untag("parent");
    expect(await collect()).toMatchObject({ images: [] });
    const hex = (digest: string) => digest.slice("sha256:".length);
    mkdirSync(join(home, "cache"));
    const base = join(home, "cache", `${hex(parent.digest)}-0.qcow2`);
    writeFileSync(base, "base");
    const folder = join(home, "instances/vm1");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "instance.json"), JSON.stringify({ name: "vm1", imageDigest: parent.digest }));
    await untag("child");
    for (const file of ["catalog.db", "catalog.db-wal", "catalog.db-shm"])
      rmSync(join(home, file), { force: true });
    expect(await collect()).toMatchObject({ images: [expect.any(String)] });
    expect(existsSync(base)).toBe(true);
    rmSync(folder, { recursive: true });
    expect(await collect()).toMatchObject({ images: [parent.digest] });
    expect(existsSync(base)).toBe(false);
    expect(blobs()).toEqual([]);
  });

  it("keeps the base under a machine whose image the store does not know", async () => {
    const hex = "ab".repeat(32);
    mkdirSync(join(home, "cache"));
    writeFileSync(join(home, "cache", `${hex}-0.qcow2`), "base");
    mkdirSync(join(home, "instances/vm1"), { recursive: true });
    const instance = { name: "vm1", imageDigest: `sha256:${hex}` };
    writeFileSync(join(home, "instances/vm1/instance.json"), JSON.stringify(instance));
    await collect();
    expect(existsSync(join(home, "cache", `${hex}-0.qcow2`))).toBe(true);
  });

  it("brings back, when an image is recorded, what was taken away after it was looked at", async () => {
    const maker = await process();
    const { config, manifest } = await seal(maker.store, "first");
    const maps = manifest.layers;
    const other = { ...config, created: "2026-02-03T04:05:06.000Z" };
    const written = await maker.store.writeImage({ config: other, maps, packs: [] });
    expect(await collect()).toMatchObject({ quarantinedBlobs: 2, blobs: 0 });
    maker.store.change(() => maker.store.record(written, parseReference("second")));
    expect(blobs()).toContain(written.digest.slice("sha256:".length));
    await maker.end();
    expect(await collect()).toMatchObject({ blobs: 0, waitingBlobs: 0 });
  });

  it("does not go on when a machine does not say what it runs on", async () => {
    mkdirSync(join(home, "instances/vm1"), { recursive: true });
    writeFileSync(join(home, "instances/vm1/instance.json"), "{");
    await expect(collect()).rejects.toMatchObject({ code: "instance-corrupt" });
  });

  it("removes files that dead processes left under temporary names, and no other's", async () => {
    const writer = await process();
    await using _blob = await writer.store.createBlob();
    const dead = 4_194_303;
    mkdirSync(join(home, "cache"));
    const left = [
      `store/uploads/upload-${dead}-00`,
      `store/uploads/scratch.tmp-${dead}-0123456789ab`,
      `store/index.json.tmp-${dead}-0123456789ab`,
      `cache/x.qcow2.tmp-${dead}-0123456789ab`,
    ];
    for (const name of left) writeFileSync(join(home, name), "half");
    expect(await collect()).toMatchObject({ uploads: 4, freedBytes: 16 });
    for (const name of left) expect(existsSync(join(home, name))).toBe(false);
    expect(readdirSync(join(home, "store/uploads"))).toHaveLength(1);
    await writer.end();
  });

  it("takes away by digest the names that the image has, not another's", async () => {
    const one = await sealed("web:one");
    const two = await sealed("web:latest", 131_072);
    await using store = await ImageStore.open(home);
    store.untag(parseReference(`web@${one.digest}`));
    expect(store.list().map(({ digest }) => digest)).toEqual([two.digest]);
  });
});
