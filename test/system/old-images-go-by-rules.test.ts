import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { sealSlices, writePack } from "../../fixtures/small-images.ts";
import { ImageStore } from "../../src/store/image-store.ts";
import { Doppel } from "./doppel.ts";

/** A store with an image of each of the last four days, that share a pack. */
async function fourDays(doppel: Doppel): Promise<void> {
  await using store = await ImageStore.open(doppel.home);
  const pack = await writePack(store, "days", 32);
  for (let day = 1; day <= 4; day++) {
    const created = new Date(2026, 0, day, 12);
    await sealSlices(store, `db:day${day}`, [{ pack, firstFrame: 8 * (day - 1), count: 8 }], { created });
  }
}

async function names(doppel: Doppel): Promise<string[]> {
  const listed = (await doppel.json("images", "ls")) as unknown as { tag: string }[];
  return listed.map(({ tag }) => tag);
}

describe("old images", () => {
  it("go by rules, as the table says; what is left is compacted; all of it can be tried first", async () => {
    using doppel = new Doppel();
    await fourDays(doppel);
    expect(await doppel.run("images", "prune")).toMatchObject({ code: 2 });
    expect(await doppel.run("images", "prune", "--keep-daily", "0")).toMatchObject({ code: 2 });
    const rules = ["images", "prune", "db", "--keep-daily", "2", "--grace", "0s"];
    const { stdout: dry } = await doppel.run(...rules, "--dry-run");
    expect(dry).toMatch(/^db +day4 .* kept +daily 1$/m);
    expect(dry).toMatch(/^db +day1 .* would go$/m);
    expect(await names(doppel)).toHaveLength(4);
    expect((await doppel.run(...rules)).stdout).toMatch(/^db +day2 .* gone$/m);
    expect(await names(doppel)).toEqual(["day4", "day3"]);
    const tried = await doppel.run("images", "compact", "--all", "--dry-run");
    expect(tried.stdout).toMatch(/^would repack 1 packs/);
    const { images, garbage } = await doppel.json("images", "compact", "db:day4", "--grace", "0s");
    expect(images).toHaveLength(2);
    expect(garbage).toMatchObject({ waitingBlobs: 0 });
    for (const tag of ["day4", "day3"])
      expect((await doppel.run("images", "verify", `db:${tag}`)).code).toBe(0);
    // Two images of a manifest, a config and a map, and one pack.
    expect(readdirSync(join(doppel.home, "store/blobs/sha256"))).toHaveLength(7);
  });
});
