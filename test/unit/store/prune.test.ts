import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sealSlices, writePack } from "../../../fixtures/small-images.ts";
import { ImageStore } from "../../../src/store/image-store.ts";
import { pruneImages } from "../../../src/store/prune.ts";

let home: string;
let store: ImageStore;

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "doppel-prune-"));
  store = await ImageStore.open(home);
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  rmSync(home, { recursive: true, force: true });
});

async function seal(name: string, day: number, parent?: string): Promise<string> {
  const pack = await writePack(store, "one", 4);
  const created = new Date(2026, 0, day);
  const slices = [{ pack, firstFrame: 0, count: 2 }];
  return (await sealSlices(store, name, slices, { created, ...(parent === undefined ? {} : { parent }) }))
    .digest;
}

function prune(dryRun: boolean, isMeant = (_image: { name: string; tag: string }) => true) {
  const decisions = pruneImages(store, { rules: { last: 1 }, isMeant, now: new Date(), dryRun });
  return Object.fromEntries(
    decisions.map(({ name, tags, keep, why }) => [`${name}:${tags.join("+")}`, [keep, why.join()]]),
  );
}

function names(): string[] {
  return store
    .list()
    .map(({ name, tag }) => `${name}:${tag}`)
    .sort();
}

describe("pruning", () => {
  it("looks at each name by itself, and a dry run changes nothing", async () => {
    for (const name of ["db:1", "db:2", "web:1"]) await seal(name, Number(name.at(-1)));
    const expected = { "db:1": [false, ""], "db:2": [true, "last 1"], "web:1": [true, "last 1"] };
    expect(prune(true)).toEqual(expected);
    expect(names()).toEqual(["db:1", "db:2", "web:1"]);
    expect(prune(false)).toEqual(expected);
    expect(names()).toEqual(["db:2", "web:1"]);
  });

  it("takes an image's names under one name together", async () => {
    await seal("db:1", 1);
    const digest = await seal("db:2", 2);
    store.tag({ name: "db", tag: "latest" }, digest);
    expect(prune(false)).toEqual({ "db:1": [false, ""], "db:2+latest": [true, "last 1"] });
    expect(names()).toEqual(["db:2", "db:latest"]);
  });

  it("keeps a parent while its child stays, and takes both when both go", async () => {
    const parent = await seal("db:1", 1);
    const child = await seal("db:2", 2, parent);
    await seal("db:3", 3, child);
    expect(prune(true)).toMatchObject({ "db:1": [true, expect.stringMatching(/^child sha256:/)] });
    expect(names()).toHaveLength(3);
    await seal("db:4", 4);
    expect(prune(false)).toMatchObject({
      ...{ "db:1": [false, ""], "db:2": [false, ""] },
      ...{ "db:3": [false, ""], "db:4": [true, "last 1"] },
    });
    expect(names()).toEqual(["db:4"]);
  });

  it("leaves alone what it is not about", async () => {
    for (const name of ["db:1", "db:2", "db:3"]) await seal(name, Number(name.at(-1)));
    expect(prune(false, ({ tag }) => tag !== "1")).toEqual({ "db:2": [false, ""], "db:3": [true, "last 1"] });
    expect(names()).toEqual(["db:1", "db:3"]);
  });
});
