import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ancestorsOf, descendantsOf } from "../../../src/store/ancestry.ts";
import { ImageStore } from "../../../src/store/image-store.ts";
import { seal } from "./sealed-image.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-store-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

async function threeGenerations(store: ImageStore): Promise<[string, string, string]> {
  const old = await seal(store, "old");
  const middle = await seal(store, "middle", 65_536, old.digest);
  const young = await seal(store, "young", 65_536, middle.digest);
  return [old.digest, middle.digest, young.digest];
}

describe("the lineage of an image", () => {
  it("is followed up and down, past parents that are not here", async () => {
    await using store = await ImageStore.open(home);
    const [old, middle, young] = await threeGenerations(store);
    expect(ancestorsOf(store.catalog, young)).toEqual([middle, old]);
    expect(descendantsOf(store.catalog, old)).toEqual([middle, young]);
    const elsewhere = `sha256:${"e".repeat(64)}`;
    const orphan = await seal(store, "orphan", 131_072, elsewhere);
    expect(ancestorsOf(store.catalog, orphan.digest)).toEqual([elsewhere]);
  });

  it("that leads in a circle is refused, and looking for children ends", async () => {
    await using store = await ImageStore.open(home);
    const [old, middle, young] = await threeGenerations(store);
    // Digests cannot lead in a circle, a damaged catalog can.
    store.catalog.database.prepare("UPDATE images SET parent = ? WHERE digest = ?").run(young, old);
    expect(() => ancestorsOf(store.catalog, young)).toThrow(
      expect.objectContaining({ code: "lineage-cyclic", exitCode: 3 }),
    );
    expect(descendantsOf(store.catalog, old)).toEqual([middle, young]);
  });
});
