import { expect, it } from "vitest";
import type { Users } from "../../../fixtures/farm/web.ts";
import type { ShopFarm } from "../shop-farm.ts";
import { killedAt } from "./killed.ts";
import { versionsNow } from "./versions.ts";

/** Begins with shadows that are checked; in the end users have the old version. */
export function faultsOfSwitching(farmOf: () => ShopFarm, usersOf: () => Users): void {
  it("is not switched (exit 3) by an operator whose clock is wrong: green checks are of another time then", async () => {
    const farm = farmOf();
    for (const offset of ["+1h", "-1h"]) {
      expect(await farm.runAt(offset, "switch")).toMatchObject({
        code: 3,
        stderr: expect.stringMatching(
          /all checks are green and fresh: database\/web1\/orders is of 2.*\[gate-closed\]/,
        ),
      });
    }
  });

  it("is not switched (exit 3) while the image's name stands for another one than the shadows are of", async () => {
    const farm = farmOf();
    const tag = (ref: string, name: string) => farm.doppel.json("images", "tag", ref, name);
    await tag("shop:2", "shop:kept");
    await tag("shop:1", "shop:2");
    expect(await farm.run("switch")).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(
        /the file names no other one: \S+-web1 was provisioned of sha256:\w+, the image is sha256:\w+.*\[gate-closed\]/,
      ),
    });
    await tag("shop:kept", "shop:2");
  });

  it("has the old version when a switch is killed at the router, and led back, also on a full disk", async () => {
    const farm = farmOf();
    const { journal } = farm.disks;
    await killedAt(farm, /^started: give the site's users the new version$/m, "switch");
    journal.fill();
    await farm.json("rollback");
    journal.free();
    expect(await versionsNow(usersOf())).toEqual(["1"]);
  });
}
