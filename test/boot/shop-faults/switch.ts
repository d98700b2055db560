import { expect, it } from "vitest";
import type { Users } from "../../../fixtures/farm/web.ts";
import type { ShopFarm } from "../shop-farm.ts";
import { killedAt } from "./killed.ts";
import { versionsNow } from "./versions.ts";

/** In the order in which they begin. */
const SWITCH_STEPS = [
  "watch the new version",
  "turn mailer off on web2's live machine",
  "turn mailer on on \\S+-web2",
];
const ROLLBACK_STEPS = ["give the site's users the old version again", "turn mailer off on \\S+-web2"];

/** Begins with shadows that are checked; in the end users have the old version. */
export function faultsOfSwitching(farmOf: () => ShopFarm, usersOf: () => Users): void {
  const versions = () => versionsNow(usersOf());
  const mailing = async () => {
    const farm = farmOf();
    const sides = [
      farm.inLive("web2", "shop-mailer probe && echo live || true"),
      farm.inShadow("web2", "shop-mailer probe && echo shadow || true"),
    ];
    return (await Promise.all(sides)).join("");
  };

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
    expect(await versions()).toEqual(["1"]);
  });

  it("has the new version when a switch is killed once, and again, and gone on with; the same on the way back", async () => {
    const farm = farmOf();
    farm.describe({ switch: { watch: "2s", drain: "5s" } });
    for (const [at, step] of SWITCH_STEPS.entries())
      await killedAt(farm, new RegExp(`^started: ${step}`, "m"), at === 0 ? "switch" : "resume");
    await farm.json("resume");
    expect(await versions()).toEqual(["2"]);
    expect(await mailing()).toBe("shadow\n");
    for (const [at, step] of ROLLBACK_STEPS.entries())
      await killedAt(farm, new RegExp(`^started: ${step}`, "m"), at === 0 ? "rollback" : "resume");
    await farm.json("resume");
    expect(await versions()).toEqual(["1"]);
    expect(await mailing()).toBe("live\n");
  });
}
