import { describe, expect, it } from "vitest";
import { SmallDisk } from "../../fixtures/small-disk.ts";
import { Doppel, possible } from "./doppel.ts";

describe.skipIf(!possible)("a store whose disk is full", () => {
  // SQLite meets it in another place on each of them.
  it.each(["tmpfs", "ext4"] as const)("says so on %s, and is as it was once there is room", async (kind) => {
    using doppel = new Doppel();
    await using disk = SmallDisk.mount(doppel.home, kind);
    expect(await doppel.json("images", "ls")).toEqual([]);
    disk.fill();
    const { code, stderr } = await doppel.run("images", "ls");
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no space left for the catalog .* \[ENOSPC\] - free space there/),
    });
    expect(stderr).not.toContain("move");
    disk.free();
    expect(await doppel.json("images", "ls")).toEqual([]);
  });
});
