import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseReference } from "../../../src/image/reference.ts";
import { ImageStore } from "../../../src/store/image-store.ts";
import { seal } from "./sealed-image.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-store-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

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

  it("makes index.json again when a crash came between it and the catalog, whichever is ahead", async () => {
    const path = join(home, "store/index.json");
    const named = () => readFileSync(path, "utf8");
    let before = "";
    {
      await using store = await ImageStore.open(home);
      await seal(store, "web1");
      before = named();
      await seal(store, "web2", 131_072);
    }
    const after = named();
    writeFileSync(path, before);
    await (await ImageStore.open(home))[Symbol.asyncDispose]();
    expect(named()).toBe(after);
    rmSync(path);
    await (await ImageStore.open(home))[Symbol.asyncDispose]();
    expect(named()).toBe(after);
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

  it("lists in index.json what is tagged by its name, and what is not without one", async () => {
    await using store = await ImageStore.open(home);
    const image = await seal(store, "web1");
    const index = () => JSON.parse(readFileSync(join(home, "store/index.json"), "utf8")).manifests;
    expect(index()).toMatchObject([{ digest: image.digest, size: image.manifestBytes }]);
    store.untag(parseReference("web1"));
    expect(index()).toHaveLength(1);
    expect(index()[0]).toMatchObject({ digest: image.digest });
    expect(index()[0]).not.toHaveProperty("annotations");
  });
});
