import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { buildImageConfig } from "../../../src/image/config.ts";
import { DiskMapEncoder } from "../../../src/image/disk-map.ts";
import { MEDIA_TYPES } from "../../../src/image/manifest.ts";
import { parseReference } from "../../../src/image/reference.ts";
import { collectGarbage } from "../../../src/store/gc.ts";
import { ImageStore, type StoredImage } from "../../../src/store/image-store.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-store-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

/** An image of one empty disk. */
async function seal(store: ImageStore, name: string, diskBytes = 65_536): Promise<StoredImage> {
  const encoder = new DiskMapEncoder(diskBytes);
  const map = await store.blobs.put(Buffer.concat([encoder.header(), encoder.finish([])]));
  const created = "2026-01-02T03:04:05.000Z";
  const config = buildImageConfig(
    {
      version: 1,
      grade: "offline",
      host: name,
      facts: {},
      disks: [
        {
          ...{ name: "sda", device: "/dev/sda", sizeBytes: diskBytes, logicalSectorBytes: 512 },
          ...{ map: map.digest, dataBytes: 0, regions: [], readErrors: [] },
        },
      ],
      lineage: { kind: "capture", parent: null },
    },
    { architecture: "amd64", created },
  );
  const maps = [{ mediaType: MEDIA_TYPES.diskMap, digest: map.digest, size: map.sizeBytes }];
  return await store.commitImage(parseReference(name), { config, maps, packs: [] });
}

describe("the store", () => {
  it("finds what was sealed, and names near ones for what it does not have", async () => {
    await using store = await ImageStore.open(home);
    const image = await seal(store, "web1");
    expect((await store.resolve(parseReference("web1"))).digest).toBe(image.digest);
    const unknown = store.resolve(parseReference("web2"));
    await expect(unknown).rejects.toMatchObject({
      code: "image-unknown",
      hint: expect.stringContaining("web1:latest"),
    });
  });

  it("makes a lost catalog again from the layout", async () => {
    {
      await using store = await ImageStore.open(home);
      await seal(store, "web1:a");
      await seal(store, "web2:b", 131_072);
    }
    for (const file of ["catalog.db", "catalog.db-wal", "catalog.db-shm"])
      rmSync(join(home, file), { force: true });
    await using store = await ImageStore.open(home);
    expect(
      store
        .list()
        .map(({ name, tag }) => `${name}:${tag}`)
        .sort(),
    ).toEqual(["web1:a", "web2:b"]);
  });

  it("says so when the catalog is no catalog", async () => {
    writeFileSync(
      join(home, "catalog.db"),
      "this is not a database, and long enough to be read as one".repeat(20),
    );
    await expect(ImageStore.open(home)).rejects.toMatchObject({
      code: expect.stringMatching(/SQLITE|catalog/i),
    });
  });

  it("does not seal an image of which a blob is missing", async () => {
    await using store = await ImageStore.open(home);
    const image = await seal(store, "web1");
    const digest = `sha256:${"0".repeat(64)}`;
    const packs = [{ digest, sizeBytes: 100, frameCount: 1 }];
    const sealing = store.commitImage(parseReference("web2"), { config: image.config, maps: [], packs });
    await expect(sealing).rejects.toMatchObject({ code: "blob-missing" });
    expect(store.list()).toHaveLength(1);
  });

  it("refuses a second claim to a name, and takes over that of a dead process", async () => {
    await using store = await ImageStore.open(home);
    const claim = store.reserveName(parseReference("web1"));
    expect(() => store.reserveName(parseReference("web1"))).toThrow(
      expect.objectContaining({ code: "name-busy", exitCode: 3 }),
    );
    store.catalog.database.prepare("UPDATE leases SET process_start = 'another boot/1'").run();
    const second = store.reserveName(parseReference("web1"));
    second.release();
    claim.release();
  });

  it("refuses a digest that would lead out of its folder", async () => {
    await using store = await ImageStore.open(home);
    await expect(store.blobs.openBlob("sha256:../../catalog.db")).rejects.toMatchObject({
      code: "digest-invalid",
    });
  });

  it("lists in index.json exactly what is tagged", async () => {
    await using store = await ImageStore.open(home);
    const image = await seal(store, "web1");
    const index = () => JSON.parse(readFileSync(join(home, "store/index.json"), "utf8")).manifests;
    expect(index()).toMatchObject([{ digest: image.digest, size: image.manifestBytes }]);
    store.untag(parseReference("web1"));
    expect(index()).toEqual([]);
  });

  it("collects what nothing names once it is old enough, and nothing else", async () => {
    await using store = await ImageStore.open(home);
    const kept = await seal(store, "kept");
    await seal(store, "dropped", 131_072);
    store.untag(parseReference("dropped"));
    expect(await collectGarbage(store, { dryRun: true })).toMatchObject({ blobs: 0 });
    const { utimesSync, readdirSync } = await import("node:fs");
    const past = new Date(Date.now() - 3_600_000);
    for (const blob of readdirSync(store.blobs.folder))
      utimesSync(join(store.blobs.folder, blob), past, past);
    const report = await collectGarbage(store, { dryRun: false });
    expect(report).toMatchObject({ images: [expect.stringMatching(/^sha256:/)], blobs: 3 });
    expect((await store.resolve(parseReference("kept"))).digest).toBe(kept.digest);
  });
});
